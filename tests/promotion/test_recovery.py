"""Killed anywhere, a promotion leaves the old model or the new one; the next start brings it to its end."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clm.errors import Interrupted
from clm.ports import PromotionState
from clm.promotion.under_way import Promotion
from tests.daemon.test_service import Daemon
from tests.promotion.server import KEY, NEW, OLD, Server

STEPS = ("prepared", "installed", "staged", "switching", "rewriting", "pointed", "restarting", "restarted")
GOOD = [(point, 1) for point in (*STEPS, "verified", "committed")]
BAD = [
    ("rolling_back", 1),
    ("rewriting", 2),
    ("pointed", 2),
    ("discarded", 1),
    ("restarted", 2),
    ("verified", 2),
    ("rolled_back", 1),
]


def assert_whole(server: Server, before: bytes) -> None:
    """Hold what must be true at every moment: the file names one whole model, all else is as it was."""
    named = server.named()
    assert named in {str(server.old_path), str(server.new_path)}
    assert server.env_path.read_bytes() in {before, before.replace(OLD.encode(), NEW.encode())}
    content = {
        str(server.old_path): b"good champion",
        str(server.new_path): server.root.joinpath("weights.pth"),
    }
    expected = content[named]
    expected = expected if isinstance(expected, bytes) else expected.read_bytes()
    assert server.models.joinpath(named).read_bytes() == expected
    assert server.old_path.read_bytes() == b"good champion"
    assert len(server.query("SELECT id FROM clm_promotions WHERE is_open = 1")) <= 1


def assert_ended(server: Server, before: bytes) -> None:
    """Hold what must be true after recovery: one model, named, whole and served; nothing else left."""
    assert_whole(server, before)
    assert server.open_record() is None
    assert server.served() == server.named()
    assert server.answers()
    assert not [p for d in (server.models, server.env_path.parent) for p in d.glob(".*")]
    assert len(server.terminal_events()) == len(server.states())
    if server.states() == ["COMMITTED"]:
        assert server.named() == str(server.new_path)
    else:
        assert server.named() == str(server.old_path)
        assert [p.name for p in server.models.iterdir()] == [f"{OLD}.pth"]


@pytest.mark.parametrize(
    ("content", "point", "nth"), [(b"good", *p) for p in GOOD] + [(b"crash", *p) for p in BAD]
)
def test_f1_a_kill_at_any_step_is_brought_to_its_end(
    server: Server, content: bytes, point: str, nth: int
) -> None:
    """SIGKILL leaves no time to tidy up; what is on the disk has to be enough."""
    before, artefact = server.env_path.read_bytes(), server.artefact(content)
    assert server.killed_at(point, lambda promoter: promoter.promote(artefact, "p07_run"), nth)
    assert_whole(server, before)
    server.promoter().recover()
    assert_ended(server, before)
    after = server.files()
    assert server.promoter().recover() is None
    assert server.files() == after


@pytest.mark.parametrize(("point", "nth"), BAD)
def test_f1_a_second_kill_during_recovery_is_brought_to_its_end_too(
    server: Server, point: str, nth: int
) -> None:
    """A machine that dies once dies twice."""
    before, artefact = server.env_path.read_bytes(), server.artefact(b"crash")
    assert server.killed_at("restarting", lambda promoter: promoter.promote(artefact, "p07_run"))
    assert server.killed_at(point, lambda promoter: promoter.recover(), 1)
    assert_whole(server, before)
    server.promoter().recover()
    assert_ended(server, before)
    assert server.states() == ["ROLLED_BACK"]


@pytest.mark.parametrize(
    ("point", "end"), [("staged", "ABORTED"), ("pointed", "COMMITTED"), ("verified", "COMMITTED")]
)
def test_the_environment_file_decides_which_way_recovery_goes(server: Server, point: str, end: str) -> None:
    """Not what was meant counts but what is observed."""
    artefact = server.artefact()
    server.killed_at(point, lambda promoter: promoter.promote(artefact, "p07_run"))
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state.value == end
    assert server.states() == [end]


def test_a_running_candidate_is_verified_again_without_another_restart(server: Server) -> None:
    """Each restart is an outage; the engine that runs on the right file is left running."""
    artefact = server.artefact()
    server.killed_at("verified", lambda promoter: promoter.promote(artefact, "p07_run"))
    pid = server.engine.observe().main_pid
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.engine_pid == pid


def test_two_interrupted_verifications_are_enough(server: Server) -> None:
    """A model that takes the machine down with it would otherwise do so for ever."""
    artefact = server.artefact()
    assert server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    assert server.killed_at("verified", lambda promoter: promoter.recover())
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.ROLLED_BACK
    assert server.served() == str(server.old_path)


@pytest.mark.parametrize("deaths", [1, 2])
def test_g9_a_third_value_after_a_crash_is_left_alone(server: Server, deaths: int) -> None:
    """The operator repaired it by hand while we were dead, however often we had tried."""
    artefact = server.artefact()
    server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    if deaths == 2:
        server.killed_at("verified", lambda promoter: promoter.recover())
    theirs = server.models / "theirs.pth"
    theirs.write_bytes(b"good theirs")
    server.env_path.write_bytes(
        server.env_path.read_bytes().replace(str(server.new_path).encode(), str(theirs).encode())
    )
    before = server.files()
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.SUPERSEDED
    assert server.files() == before
    assert server.events()[-2:] == ["model.promotion_ended", "learning.performance.alert"]
    assert server.terminal_events() == ["model.promotion_ended"]


def test_a_broken_environment_file_after_a_crash_is_left_to_a_person(server: Server) -> None:
    """Two different values say that somebody is at work; nothing is guessed."""
    artefact = server.artefact()
    server.killed_at("pointed", lambda promoter: promoter.promote(artefact, "p07_run"))
    server.env_path.write_bytes(server.env_path.read_bytes() + f"\n{KEY}=/other.pth\n".encode())
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.SUPERSEDED
    assert "ENV_AMBIGUOUS" in outcome.reason


@pytest.mark.parametrize(("named", "stays"), [(NEW, True), (OLD, False)])
def test_a_file_that_somebody_named_meanwhile_is_not_removed(
    stopped_server: Server, named: str, stays: bool
) -> None:
    """They put our staged file to use; the engine must find it, even if we give up on it."""
    server = stopped_server
    artefact = server.artefact()
    assert server.killed_at("staged", lambda promoter: promoter.promote(artefact, "p07_run")) is False
    server.start()
    assert server.killed_at("staged", lambda promoter: promoter.promote(artefact, "p07_run"))
    server.env_path.write_bytes(server.env_path.read_bytes().replace(OLD.encode(), named.encode()))
    record = server.open_record()
    assert record is not None
    Promotion(server.workplace(), record).discard_candidate()
    assert server.new_path.exists() is stays


def test_a_first_promotion_that_was_killed_can_be_taken_back_to_the_byte(bare_server: Server) -> None:
    """Without a previous value the way back is the line's absence."""
    server = bare_server
    before, artefact = server.files(), server.artefact(b"crash")
    policy = server.policy(engine_may_be_down=True)
    server.policy = lambda **_changes: policy  # type: ignore[method-assign]
    assert server.killed_at("restarting", lambda promoter: promoter.promote(artefact, "p07_run"))
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.ROLLED_BACK, outcome.reason
    assert server.files() == server.taken_back(before)


def test_recovery_without_an_open_promotion_sweeps_what_killed_writers_left(server: Server) -> None:
    """A temporary file is orphaned when its writer is dead."""
    (server.models / f".{NEW}.pth.clm-1-0.tmp").write_bytes(b"half")
    (server.env_path.parent / ".ai-engine.env.clm-1-0.tmp").write_bytes(b"half")
    assert server.promoter().recover() is None
    assert not [p for d in (server.models, server.env_path.parent) for p in d.glob(".*")]


def raising(point: str, error: Exception) -> Callable[[str], None]:
    """Return a checkpoint that raises where a bug would."""

    def at(passed: str) -> None:
        if passed == point:
            raise error

    return at


def counts(server: Server) -> tuple[object, ...]:
    ((attempts, stores),) = server.query("SELECT attempts, store_count FROM clm_promotions")
    return attempts, stores


@pytest.mark.parametrize("content", [b"good", b"crash"])
@pytest.mark.parametrize("point", ["resumed", "verified"])
def test_f16_a_recovery_that_raises_counts_nothing_and_ends_well_when_the_cause_is_gone(
    server: Server, content: bytes, point: str
) -> None:
    """The process lives and waits; only a process that dies uses up the bounds of a loop of crashes."""
    before, artefact = server.env_path.read_bytes(), server.artefact(content)
    assert server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    counted = counts(server)
    promoter = server.promoter(raising(point, RuntimeError("a bug")))
    for _ in range(5 if point == "verified" else 35):
        with pytest.raises(RuntimeError):
            promoter.recover()
        assert counts(server) == counted
        assert_whole(server, before)
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is (PromotionState.COMMITTED if content == b"good" else PromotionState.ROLLED_BACK)
    assert_ended(server, before)


def test_f16_exceptions_between_two_deaths_do_not_hide_the_deaths(server: Server) -> None:
    """I-8: a loop of deaths ends at 28 writes of the row, whatever happens between them."""
    artefact = server.artefact(b"crash")
    assert server.killed_at("rolling_back", lambda promoter: promoter.promote(artefact, "p07_run"))
    broken, deaths = server.promoter(raising("resumed", RuntimeError("a bug"))), 0
    while server.killed_at("resumed", lambda promoter: promoter.recover()):
        deaths += 1
        assert deaths < 40
        before = counts(server)
        if server.open_record() is not None and int(str(before[1])) < 27:
            with pytest.raises(RuntimeError):
                broken.recover()
            assert counts(server) == before
    assert deaths > 15
    assert (server.states(), counts(server)[1]) == (["ROLLBACK_FAILED"], 28)
    assert server.named() == str(server.old_path)


def test_f16_an_order_to_stop_in_a_recovery_counts_as_the_death_that_it_leads_to(server: Server) -> None:
    """Two interrupted verifications are enough, however the process was ended."""
    artefact = server.artefact()
    assert server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    with pytest.raises(Interrupted):
        server.promoter(raising("verified", Interrupted("STOPPING", "the daemon is to stop"))).recover()
    assert counts(server)[0] == 2
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.ROLLED_BACK


def test_f16_a_daemon_whose_recovery_raises_waits_longer_each_time_and_then_ends_it(
    server: Server, tmp_path: Path
) -> None:
    """A bug that the engine's state provokes must not be met every two seconds."""
    artefact = server.artefact()
    assert server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    counted, raised = counts(server), []

    def bug(passed: str) -> None:
        if passed == "verified" and len(raised) < 5:
            raised.append(passed)
            raise RuntimeError("a bug\nof \x1b[2J")

    (tmp_path / "daemon").mkdir()
    daemon = Daemon(tmp_path / "daemon")
    daemon.service._wired = replace(daemon.service._wired, promoter=server.promoter(bug))
    waits = []
    for number in range(1, 6):
        daemon.tick()
        assert len(raised) == number
        waits.append(daemon.service._not_before - daemon.clock.monotonic())
        daemon.service._start_next()
        assert not daemon.service._busy(), "it waits"
        assert counts(server) == counted
    assert waits == sorted(set(waits))
    assert waits[0] >= 60
    daemon.tick()
    assert server.states() == ["COMMITTED"]
    assert server.served() == server.named() == str(server.new_path)


def test_l14_a_recovery_meets_a_journal_of_any_bytes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon died while it verified; the journal that it reads then holds what it holds."""
    artefact = server.artefact()
    assert server.killed_at("restarted", lambda promoter: promoter.promote(artefact, "p07_run"))
    (tmp_path / "programs").mkdir()
    printed = b"\xff\xfe\n" + f"loaded {NEW}.pth\n".encode()
    program = tmp_path / "programs" / "journalctl"
    program.write_text(f"#!{sys.executable}\nimport os\nos.write(1, {printed!r})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    outcome = server.promoter(journal_pattern="loaded {file}").recover()
    assert outcome is not None
    assert outcome.state is PromotionState.COMMITTED
