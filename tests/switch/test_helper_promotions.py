"""Promotions by the helper end as those by ourselves do, wherever the helper is killed."""

import pytest

from clm.ports import PromotionState
from tests.promotion.server import NEW, OLD, Server
from tests.promotion.test_recovery import assert_ended, assert_whole
from tests.switch.helped import Helper

KILLED = [
    (b"good", "helper_installed", 1),
    (b"good", "helper_rewriting", 1),
    (b"good", "helper_pointed", 1),
    (b"good", "helper_answered", 3),
    (b"good", "helper_restarted", 1),
    (b"crash", "helper_pointed", 2),
    (b"crash", "helper_restarted", 2),
]
"""The others, and every one under the daemon's own death, are in tests/chaos."""


def test_a_good_model_is_committed_and_the_file_differs_in_one_value(server: Server) -> None:
    """The helper did both visible steps, each once."""
    before, helper = server.env_path.read_bytes(), Helper(server)
    outcome = helper.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.env_path.read_bytes() == before.replace(OLD.encode(), NEW.encode())
    assert server.served() == str(server.new_path)
    assert helper.passed.count("helper_pointed") == helper.passed.count("helper_restarted") == 1


def test_a_bad_model_is_taken_back_to_a_champion_that_is_none_of_ours(server: Server) -> None:
    """The champion before has no manifest here; the helper knows it because it found it in the file."""
    before, helper = server.files(), Helper(server)
    outcome = helper.promoter().promote(server.artefact(b"crash"), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK, outcome.reason
    assert server.files() == server.taken_back(before)
    assert server.served() == str(server.old_path)


def test_a_champion_elsewhere_can_be_brought_back_too(server: Server) -> None:
    """An operator's path outside of the models directory is called by its hash in the order."""
    theirs = server.root / "elsewhere" / "hand made.pth".replace(" ", "_")
    theirs.parent.mkdir()
    theirs.write_bytes(b"good theirs")
    now = server.env_path.read_bytes()
    server.env_path.write_bytes(now.replace(str(server.old_path).encode(), str(theirs).encode()))
    server.start()
    before, helper = server.files(), Helper(server)
    outcome = helper.promoter().promote(server.artefact(b"crash"), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK, outcome.reason
    assert server.files() == server.taken_back(before)
    assert server.served() == str(theirs)


def test_a_first_model_that_fails_leaves_the_file_without_a_line(bare_server: Server) -> None:
    """No model is a target as well: to the byte as it was, by the hash that the helper noted itself."""
    server, before = bare_server, bare_server.files()
    outcome = Helper(server).promoter(engine_may_be_down=True).promote(server.artefact(b"crash"), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK, outcome.reason
    assert server.files() == server.taken_back(before)


@pytest.mark.parametrize(("content", "point", "nth"), KILLED)
def test_h13_a_helper_killed_anywhere_leaves_one_whole_model(
    server: Server, content: bytes, point: str, nth: int
) -> None:
    """The promoter lives and sees its helper die: it goes back, or finds that the step was done."""
    before, helper = server.env_path.read_bytes(), Helper(server)
    helper.die_at(point, nth)
    outcome = helper.promoter().promote(server.artefact(content), "p07_run")
    assert_whole(server, before)
    assert helper.promoter().recover() is None
    assert_ended(server, before)
    assert point in helper.passed
    assert outcome.state in {PromotionState.ROLLED_BACK, PromotionState.ABORTED}
