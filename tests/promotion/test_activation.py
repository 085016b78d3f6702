"""Going live is a person's decision, held by two gates, proven by effect, and put back where it fails."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clm.errors import PromotionError
from clm.gates.verdict import GateStatus, GateVerdict
from clm.ports import PromotionKind, PromotionState
from clm.verbs import operate, shadow
from tests.promotion.server import NEW, OLD, Server
from tests.verbs.test_operate import NEVER, clm

LIVE, SHADOW = b"\nPATCHTST_SHADOW_ONLY=false\n", b"\nPATCHTST_SHADOW_ONLY=true\n"


def judged(monkeypatch: pytest.MonkeyPatch, *statuses: GateStatus) -> None:
    """Let gates 3 and 4 answer so; what they ask is held by their own tests."""
    verdicts = tuple(
        GateVerdict(name=name, status=status, observed=None, threshold=None, reason="as the test says")
        for name, status in zip(("agreement", "outcome_calibration"), statuses, strict=True)
    )
    monkeypatch.setattr(shadow, "shadow_verdicts", lambda *_arguments, **_options: verdicts)


def activate(server: Server, version: str = OLD, override: str | None = None):
    return operate.activate(server.settings(), version, override=override, stop=NEVER)


def test_a_champion_that_passed_two_gates_goes_live_and_no_more(server: Server, monkeypatch) -> None:
    """One value changes; the engine that runs afterwards has it in its environment."""
    judged(monkeypatch, GateStatus.PASS, GateStatus.PASS)
    before = server.env_path.read_bytes()
    assert activate(server).is_live
    assert server.env_path.read_bytes() == before.replace(SHADOW, LIVE)
    pid = server.engine.observe().main_pid
    assert b"PATCHTST_SHADOW_ONLY=false" in Path(f"/proc/{pid}/environ").read_bytes()
    reign = server.log.reigns()[0]
    assert (reign.version, reign.kind) == (OLD, PromotionKind.ACTIVATE)
    assert reign.why == "live: passed: agreement, outcome_calibration"
    with pytest.raises(PromotionError, match="ALREADY_LIVE"):
        activate(server)


@pytest.mark.parametrize("missing", [GateStatus.FAIL, GateStatus.DEFER])
def test_a_champion_that_was_not_proven_in_shadow_stays_there(server: Server, monkeypatch, missing) -> None:
    """Not known is not passed; a person may take it on themselves, with words that remain."""
    judged(monkeypatch, GateStatus.PASS, missing)
    before = server.files()
    with pytest.raises(PromotionError, match="NOT_PROVEN"):
        activate(server)
    assert server.files() == before
    assert activate(server, override="a small account").is_live
    assert server.log.reigns()[0].why == "live: override: a small account"
    alerts = server.query("SELECT payload FROM clm_outbox WHERE event_type = 'learning.performance.alert'")
    assert any("a small account" in str(payload) for (payload,) in alerts)


def test_only_the_champion_can_go_live(server: Server) -> None:
    """What is not served cannot trade."""
    server.artefact()
    with pytest.raises(PromotionError, match="NOT_CHAMPION"):
        activate(server, NEW, override="x")


def test_an_engine_that_does_not_come_up_live_is_put_back_to_the_byte(server: Server) -> None:
    """The shadow mode is the champion of this switch."""
    assert server.promoter().promote(server.artefact(b"shy"), "p07_run").state is PromotionState.COMMITTED
    before = server.env_path.read_bytes()
    ended = activate(server, NEW, override="x")
    assert not ended.is_live
    assert "the engine is in shadow mode again" in ended.reason
    assert server.env_path.read_bytes() == before
    assert server.served() == str(server.new_path)
    assert server.log.reigns()[0].kind is not PromotionKind.ACTIVATE


def test_an_engine_whose_unit_overrides_the_flag_is_not_called_live(server: Server) -> None:
    """Proof by effect: the file says one thing, the process another."""
    promoter, engine = server.promoter(), server.engine
    restart: Callable[[], None] = engine.restart

    def restart_in_shadow() -> None:
        now = server.env_path.read_bytes()
        server.env_path.write_bytes(now.replace(LIVE, SHADOW))
        restart()
        server.env_path.write_bytes(now)
        os.utime(server.env_path)

    engine.restart = restart_in_shadow  # type: ignore[method-assign]
    object.__setattr__(promoter._work.switch, "_engine", engine)
    ended = promoter.go_live(OLD)
    assert not ended.is_live
    assert "something overrides the file" in ended.reason
    assert SHADOW in server.env_path.read_bytes()


def test_m8_a_kill_while_going_live_leaves_one_of_two_whole_files(server: Server) -> None:
    """There is one rename; before it the engine watches, after it a person's decision stands."""
    before = server.env_path.read_bytes()
    assert server.killed_at("live", lambda promoter: promoter.go_live(OLD))
    assert server.env_path.read_bytes() == before.replace(SHADOW, LIVE)
    assert server.promoter().recover() is None
    assert server.served() == str(server.old_path)


def test_a_promotion_that_is_not_at_its_end_comes_first(server: Server) -> None:
    """Two switches of one file have an order."""
    artefact = server.artefact()
    assert server.killed_at("staged", lambda promoter: promoter.promote(artefact, "p07_run"))
    with pytest.raises(PromotionError, match="PROMOTION_BUSY"):
        server.promoter().go_live(OLD)


def test_without_redis_the_gates_cannot_be_asked_and_nothing_happens(server: Server) -> None:
    """The evidence is in the streams; without them, there is no evidence."""
    before = server.files()
    done = clm(server, "activate", OLD)
    assert done.returncode == 69, done.stderr
    assert server.files() == before
