"""Root's helper is killed at each of its points, alone and together with the daemon."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.promotion.server import Server
from tests.promotion.test_recovery import assert_ended, assert_whole
from tests.switch.helped import Helper

FORWARD = [
    ("helper_answered", 1),
    ("helper_installed", 1),
    ("helper_answered", 2),
    ("helper_verified", 1),
    ("helper_rewriting", 1),
    ("helper_pointed", 1),
    ("helper_answered", 3),
    ("helper_restarted", 1),
    ("helper_answered", 4),
]
BACK = [
    ("helper_verified", 2),
    ("helper_rewriting", 2),
    ("helper_pointed", 2),
    ("helper_answered", 5),
    ("helper_answered", 6),
    ("helper_restarted", 2),
    ("helper_answered", 7),
]
POINTS = [(b"good", *p) for p in FORWARD] + [(b"crash", *p) for p in FORWARD + BACK]


@pytest.mark.parametrize(("content", "point", "nth"), POINTS)
def test_h13_a_helper_killed_anywhere_leaves_one_whole_model(
    server: Server, content: bytes, point: str, nth: int
) -> None:
    """The promoter lives, sees its helper die, and goes back or finds the step done."""
    before, helper = server.env_path.read_bytes(), Helper(server)
    helper.die_at(point, nth)
    helper.promoter().promote(server.artefact(content), "p07_run")
    assert_whole(server, before)
    assert point in helper.passed
    assert helper.promoter().recover() is None
    assert_ended(server, before)


@pytest.mark.parametrize(("content", "point", "nth"), POINTS)
def test_h13_helper_and_daemon_killed_together_are_recovered(
    server: Server, content: bytes, point: str, nth: int
) -> None:
    """As a power cut would: the next start of the daemon ends what was begun."""
    before, artefact = server.env_path.read_bytes(), server.artefact(content)
    assert _killed(lambda: _promote_until(server, artefact, point, nth))
    assert_whole(server, before)
    Helper(server).promoter().recover()
    assert_ended(server, before)


def _promote_until(server: Server, artefact: object, point: str, nth: int) -> None:
    helper = Helper(server)
    helper.die_at(point, nth)
    helper.and_the_daemon = True
    helper.promoter().promote(artefact, "p07_run")  # type: ignore[arg-type]


def _killed(work: Callable[[], None]) -> bool:
    """Do the work in a child; return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
