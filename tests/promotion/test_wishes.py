"""Who asks decides what may be done: a cycle, a person, a person who wants the old model back."""

import hashlib
import os
import shutil
from dataclasses import replace

import orjson
import pytest

from clm.errors import Interrupted
from clm.ports import Control, PromotionKind, PromotionRequest, PromotionState
from tests.promotion.server import NEW, OLD, Server

LATER = "patchtst_v20260302_120000"
PERSON = PromotionRequest(kind=PromotionKind.PROMOTE, reason="I looked at it", override=True)
BACK = PromotionRequest(kind=PromotionKind.ROLLBACK, reason="it trades badly")


def make_live(server: Server) -> None:
    server.env_path.write_bytes(server.env_path.read_bytes().replace(b"ONLY=true", b"ONLY=false"))


@pytest.mark.parametrize("how", ["manual", "live", "pin", "hold", "pause"])
def test_f15_a_cycle_leaves_the_switch_to_a_person(server: Server, how: str) -> None:
    """The candidate waits, nothing is touched and no record is begun; a person may do it."""
    policy = {"mode": "manual"} if how == "manual" else {}
    if how == "live":
        make_live(server)
    elif how != "manual":
        server.controls.set(Control(how), reason="the operator said so", value=OLD)
    before, artefact = server.files(), server.artefact()
    outcome = server.promoter(**policy).promote(artefact, "p07_run", server.cycle_wish())
    assert outcome.state is PromotionState.WAITING
    assert f"`clm promote {NEW}`" in outcome.reason
    assert server.files() == before
    assert server.states() == []
    if how != "pin":
        assert server.promoter(**policy).promote(artefact, "p07_run").state is PromotionState.COMMITTED


def test_f14_a_live_engine_gets_models_by_itself_where_that_was_allowed(server: Server) -> None:
    """CLM_PROMOTE_LIVE is a decision that a person takes once."""
    make_live(server)
    outcome = server.promoter(promote_live=True).promote(server.artefact(), "p07_run", server.cycle_wish())
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert b"\nPATCHTST_SHADOW_ONLY=false\n" in server.env_path.read_bytes()


def test_a_pinned_champion_is_not_replaced_by_a_person_in_a_hurry_either(server: Server) -> None:
    """The operator pinned it for a reason; removing the pin takes one recorded command."""
    server.controls.set(Control.PIN, reason="a quiet week", value=OLD)
    outcome = server.promoter().promote(server.artefact(), "p07_run", PERSON)
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith(f"PINNED: {OLD} is pinned since")
    assert server.states() == []


def test_a_cycle_that_judged_against_another_champion_does_not_promote(server: Server) -> None:
    """A person promoted something while it trained: better than the old one is not better than that."""
    wish = server.cycle_wish()
    assert server.promoter().promote(server.artefact(), "p07_run").state is PromotionState.COMMITTED
    later = server.artefact(b"good third", LATER)
    outcome = server.promoter().promote(later, "p07_cycle", wish)
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("CHAMPION_MOVED")
    assert server.named() == str(server.new_path)


def test_f11_the_same_data_code_and_settings_are_never_tried_twice(server: Server) -> None:
    """The same model would fail the same way; only a person with a reason tries it again."""
    assert server.promoter().promote(server.artefact(b"crash"), "p07_1").state is PromotionState.ROLLED_BACK
    twin = server.artefact(b"crash", LATER)
    outcome = server.promoter().promote(twin, "p07_2", server.cycle_wish())
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith(f"ALREADY_TRIED: {LATER} is made of the same")
    assert "ROLLED_BACK" in outcome.reason
    assert server.promoter().promote(twin, "p07_2", PERSON).state is PromotionState.ROLLED_BACK
    assert server.query("SELECT kind, asked FROM clm_promotions")[-1] == ("PROMOTE", "I looked at it")


def test_f11_a_promotion_that_never_reached_the_engine_may_be_repeated(server: Server) -> None:
    """An aborted one says nothing about the model."""
    artefact = server.artefact()
    assert server.killed_at("staged", lambda promoter: promoter.promote(artefact, "p07_run"))
    server.promoter().recover()
    assert server.states() == ["ABORTED"]
    outcome = server.promoter().promote(artefact, "p07_run", server.cycle_wish())
    assert outcome.state is PromotionState.COMMITTED, outcome.reason


def test_f11_after_two_rollbacks_in_a_row_the_next_candidate_waits_for_a_person(server: Server) -> None:
    """Flapping restarts the engine for nothing; the hold and its alert are written with the second end."""
    for number in (1, 2):
        crash = server.artefact(b"crash %d" % number, f"patchtst_v2026030{number}_120000")
        outcome = server.promoter().promote(crash, f"p07_{number}", server.cycle_wish())
        assert outcome.state is PromotionState.ROLLED_BACK
        assert bool(server.log.controls()) is (number == 2)
    good = server.artefact(b"good third", "patchtst_v20260303_120000")
    waits = server.promoter().promote(good, "p07_3", server.cycle_wish())
    assert waits.state is PromotionState.WAITING
    assert "second rollback in a row" in waits.reason
    assert server.events()[-1] == "learning.performance.alert"
    assert len(server.terminal_events()) == 2
    server.controls.clear(Control.SUSPENDED)
    assert server.promoter().promote(good, "p07_3", server.cycle_wish()).state is PromotionState.COMMITTED


def test_a_former_champion_is_brought_back_with_the_same_proof(server: Server) -> None:
    """A rollback by hand is a promotion of the old model: recorded, verified, undone where it fails."""
    server.promoter().promote(server.artefact(), "p07_run")
    reign = server.log.reigns()[-1]
    assert (reign.version, reign.path) == (OLD, server.old_path)
    outcome = server.promoter().bring_back(reign, BACK)
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.served() == str(server.old_path)
    assert [r.version for r in server.log.reigns()] == [OLD, NEW, OLD]
    assert server.log.reigns()[0].why == "it trades badly"


def test_a_former_champion_that_does_not_start_stays_where_it_lay(server: Server) -> None:
    """Its file was there before: it is no staged candidate, and not ours to remove."""
    server.promoter().promote(server.artefact(), "p07_run")
    reign = replace(server.log.reigns()[-1], sha256="")
    server.old_path.write_bytes(b"crash champion")
    changed = server.promoter().bring_back(reign, BACK)
    assert changed.reason.startswith("FILE_TAKEN")
    kept = {path.name for path in server.models.iterdir()}
    reign = replace(reign, sha256=hashlib.sha256(b"crash champion").hexdigest())
    outcome = server.promoter().bring_back(reign, BACK)
    assert outcome.state is PromotionState.ROLLED_BACK
    assert server.served() == str(server.new_path)
    assert {path.name for path in server.models.iterdir()} == kept


def test_a_former_champion_whose_file_is_gone_comes_from_the_registry(server: Server) -> None:
    """The registry keeps what the models directory lost."""
    server.promoter().promote(server.artefact(), "p07_run")
    server.promoter().bring_back(server.log.reigns()[-1], BACK)
    server.new_path.unlink()
    reign = server.log.reigns()[1]
    assert server.promoter().bring_back(reign, BACK).state is PromotionState.COMMITTED
    assert server.new_path.read_bytes() == b"good candidate"


def test_m9_a_champion_that_the_store_does_not_know_is_adopted_with_an_alert(server: Server) -> None:
    """After a restore of an old store, the environment file is authoritative, and no rollback happens."""
    backup = server.root / "yesterday.db"
    shutil.copy(server.store, backup)
    server.promoter().adopt()
    assert server.promoter().promote(server.artefact(), "p07_run").state is PromotionState.COMMITTED
    before = server.files()
    shutil.copy(backup, server.store)
    assert server.promoter().recover() is None
    assert server.promoter().adopt() == NEW
    assert server.promoter().adopt() is None
    assert server.files() == before
    (reign,) = server.log.reigns()
    assert (reign.version, reign.kind) == (NEW, PromotionKind.ADOPT)
    assert server.events() == ["learning.performance.alert"]
    assert server.query("SELECT version, is_active FROM clm_models") == [(NEW, 1)]


def test_m9_a_model_that_an_operator_named_by_hand_is_adopted_over_the_recorded_one(server: Server) -> None:
    """Truth when they disagree: the environment file, then the store."""
    server.promoter().promote(server.artefact(), "p07_run")
    server.env_path.write_bytes(server.env_path.read_bytes().replace(NEW.encode(), OLD.encode()))
    assert server.promoter().adopt() == OLD
    assert "was the last recorded champion" in server.log.reigns()[0].why
    assert server.query("SELECT version FROM clm_models WHERE is_active = 1") == [(OLD,)]


def test_m6_without_the_state_directory_the_champion_is_what_the_file_names(server: Server) -> None:
    """Artefacts and runs can be lost; what serves is asked of the server."""
    server.promoter().promote(server.artefact(), "p07_run")
    shutil.rmtree(server.root / "artefacts")
    champion = server.promoter().champion()
    assert champion is not None
    assert (champion.version, champion.feature_names) == (NEW, ())
    assert server.promoter().adopt() is None
    later = server.artefact(b"good third", LATER)
    assert server.promoter().promote(later, "p07_next").state is PromotionState.COMMITTED


POINTS = ("prepared", "installed", "staged", "switching", "pointed", "restarting", "restarted", "verified")


@pytest.mark.parametrize("point", POINTS)
def test_h13_m8_a_stop_at_any_step_ends_the_step_and_leaves_the_rest_to_the_next_start(
    server: Server, point: str
) -> None:
    """SIGTERM is no crash: what was begun is finished, waiting ends, and there is no third state."""
    stopped: list[str] = []

    def sleep(_seconds: float) -> None:
        if stopped:
            raise Interrupted("STOPPING", "the daemon is to stop")
        os.sched_yield()

    promoter = server.promoter(lambda passed: stopped.append(passed) if passed == point else None)
    promoter._work.clock.sleep = sleep  # type: ignore[method-assign]
    artefact = server.artefact()
    try:
        state = promoter.promote(artefact, "p07_run").state
    except Interrupted:
        assert server.open_record() is not None
        recovered = server.promoter().recover()
        assert recovered is not None
        state = recovered.state
    assert state is PromotionState.COMMITTED
    assert server.open_record() is None
    assert server.served() == server.named() == str(server.new_path)
    assert server.terminal_events() == ["model.promoted"]


def test_a_recovery_that_is_killed_again_and_again_ends_with_the_champion_named(server: Server) -> None:
    """I-8: each recovery is counted before it begins, and at 28 writes a person is called."""
    artefact = server.artefact(b"crash")
    assert server.killed_at("rolling_back", lambda promoter: promoter.promote(artefact, "p07_run"))
    deaths = 0
    while server.killed_at("resumed", lambda promoter: promoter.recover()):
        deaths += 1
        assert deaths < 40
    ((state, count),) = server.query("SELECT state, store_count FROM clm_promotions")
    assert (state, deaths > 15, count) == ("ROLLBACK_FAILED", True, 28)
    assert server.named() == str(server.old_path)
    assert server.terminal_events() == ["model.promotion_ended"]
    assert Control.SUSPENDED in server.log.controls()
    assert server.promoter().recover() is None


def test_a_promotion_is_told_once_when_it_begins_and_once_when_it_ends(server: Server) -> None:
    """I-7: readers can count on a pair."""
    server.promoter().promote(server.artefact(), "p07_run", server.cycle_wish())
    rows = server.query("SELECT event_type, payload FROM clm_outbox ORDER BY seq")
    published = [(name, orjson.loads(str(payload))["metadata"]) for name, payload in rows]
    assert [name for name, _ in published] == ["model.promotion_started", "model.promoted"]
    assert {(m["promotion_id"], m["kind"]) for _, m in published} == {(1, "CYCLE")}
