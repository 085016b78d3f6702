"""The promotion log: intent before action, one promotion at a time, one event at its end."""

from pathlib import Path

import pytest

from clm.errors import DataError, PromotionError
from clm.events import ModelPromoted, RollbackInitiated
from clm.ports import PromotionRow, PromotionStart, PromotionState
from clm.store.promotions import SqlitePromotionLog
from tests.store.conftest import artefact, change, child, look

MODELS = Path("/opt/models")
FIRST, SECOND = "patchtst_v20260102_030405", "patchtst_v20260103_030405"
ENDS = [state for state in PromotionState if not state.is_open]


def prepared(
    log: SqlitePromotionLog, version: str = FIRST, run_id: str = "p07_1", **changes: object
) -> PromotionRow:
    values = {
        "run_id": run_id,
        "version": version,
        "candidate_path": MODELS / f"{version}.pth",
        "candidate_sha256": version[-1] * 64,
        "previous_path": MODELS / "old.pth",
        "previous_sha256": "b" * 64,
        "env_sha256_before": "e" * 64,
    }
    return log.begin(PromotionStart(**{**values, **changes}))


def promoted(version: str = FIRST) -> ModelPromoted:
    return ModelPromoted(
        model_name="patchtst",
        old_version="old",
        new_version=version,
        accuracy=0.6,
        precision=0.6,
        recall=0.6,
        f1_score=0.6,
        promoted_at=1.0,
        promoted_by="quantum-clm",
    )


def active(store: Path, table: str = "ai_model_versions", name: str = "version_id") -> list[tuple[str, ...]]:
    return look(store, f"SELECT {name} FROM {table} WHERE is_active = 1")


def record(journal, *versions: str) -> None:
    for version in versions:
        journal.append_model(artefact(version), training_samples=9, seconds=1.0, validation_accuracy=0.5)


def test_the_intent_is_there_before_anything_is_done(promotions):
    """After a crash, the row is all that recovery has."""
    begun = prepared(promotions)
    assert begun.state is PromotionState.PREPARED
    assert promotions.open_promotion() == begun
    assert (begun.candidate_path, begun.previous_path) == (MODELS / f"{FIRST}.pth", MODELS / "old.pth")
    assert (begun.attempts, begun.reason) == (0, "")


def test_a_first_promotion_has_no_previous_model(promotions):
    """An env file may name none."""
    begun = prepared(promotions, previous_path=None, previous_sha256=None)
    assert (begun.previous_path, begun.previous_sha256) == (None, None)


def test_f8_a_second_promotion_has_to_wait_for_the_end_of_the_first(promotions):
    """Two hands on one env file."""
    first = prepared(promotions)
    with pytest.raises(PromotionError, match=r"PROMOTION_BUSY: promotion 1 of .* is PREPARED"):
        prepared(promotions, SECOND)
    promotions.advance(first.promotion_id, PromotionState.RESTARTING)
    with pytest.raises(PromotionError, match=r"PROMOTION_BUSY"):
        prepared(promotions, SECOND)
    promotions.advance(first.promotion_id, PromotionState.ABORTED)
    assert promotions.open_promotion() is None
    assert prepared(promotions, SECOND).promotion_id == 2


BEGIN = """
import sys
from pathlib import Path
from clm.clock import SystemClock
from clm.errors import PromotionError
from clm.ports import PromotionStart
from clm.store.promotions import SqlitePromotionLog
log = SqlitePromotionLog(Path(sys.argv[1]), SystemClock())
sys.stdin.readline()
try:
    log.begin(PromotionStart(
        run_id="r", version=sys.argv[2], candidate_path=Path("/m"), candidate_sha256="c",
        previous_path=None, previous_sha256=None, env_sha256_before="e",
    ))
    print("began")
except PromotionError as error:
    print(error.code)
"""


def test_f8_of_many_that_begin_at_once_one_may(store):
    """The lock and the index decide, not who looked first."""
    processes = [child(BEGIN, store, name) for name in "abc"]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.communicate()[0].strip() for process in processes)
    assert answers == ["PROMOTION_BUSY", "PROMOTION_BUSY", "began"]


def test_the_index_alone_keeps_a_second_open_row_out(promotions, store):
    """It also binds other programs that write the table."""
    prepared(promotions)
    with pytest.raises(Exception, match=r"UNIQUE constraint failed: clm_promotions.is_open"):
        change(
            store,
            "INSERT INTO clm_promotions (run_id, version, candidate_path, candidate_sha256, "
            "env_sha256_before, state, is_open, attempts, reason, created_at, updated_at) "
            "SELECT run_id, version, candidate_path, candidate_sha256, env_sha256_before, state, is_open, "
            "attempts, reason, created_at, updated_at FROM clm_promotions",
        )


def test_a_step_keeps_what_it_does_not_change(promotions):
    """Attempts bound the loop of restarts; they must survive every step."""
    begun = prepared(promotions)
    promotions.advance(begun.promotion_id, PromotionState.RESTARTING, attempts=2, reason="again")
    after = promotions.advance(begun.promotion_id, PromotionState.ROLLING_BACK)
    assert (after.state, after.attempts, after.reason) == (PromotionState.ROLLING_BACK, 2, "again")
    assert promotions.open_promotion() == after


def test_a_commit_makes_the_model_the_one_active_one(promotions, journal, store):
    """I-4, at ours and at the neighbours'."""
    change(
        store,
        "INSERT INTO ai_model_versions (version_id, model_type, file_path, trained_at, training_samples, "
        "is_active) VALUES ('xgb_v1', 'xgb', '/x', '2025-01-01', 1, 1)",
    )
    record(journal, FIRST, SECOND)
    for version in (FIRST, SECOND, FIRST):
        promotion = prepared(promotions, version)
        promotions.advance(promotion.promotion_id, PromotionState.COMMITTED)
        assert active(store) == [(version,)]
        assert active(store, "clm_models", "version") == [(version,)]
    rows = look(store, "SELECT version_id, file_path, replaced_at FROM ai_model_versions ORDER BY id")
    assert rows == [
        ("xgb_v1", "/x", "2026-01-02 03:04:05.000000"),
        (FIRST, str(MODELS / f"{FIRST}.pth"), None),
        (SECOND, str(MODELS / f"{SECOND}.pth"), "2026-01-02 03:04:05.000000"),
    ]


@pytest.mark.parametrize(
    "state", [state for state in PromotionState if state is not PromotionState.COMMITTED]
)
def test_no_other_state_changes_what_is_active(promotions, journal, store, state):
    """A candidate that is being tried is not yet the champion, and one that failed never was."""
    record(journal, FIRST, SECOND)
    promotions.advance(prepared(promotions).promotion_id, PromotionState.COMMITTED)
    promotions.advance(prepared(promotions, SECOND).promotion_id, state)
    assert active(store) == [(FIRST,)]


@pytest.mark.parametrize("table", ["clm_outbox", "ai_model_versions", "clm_models"])
def test_a_commit_is_state_flip_and_event_or_none_of_them(promotions, journal, store, table):
    """Step 9: all or nothing."""
    record(journal, FIRST)
    promotion = prepared(promotions)
    kind = "INSERT" if table == "clm_outbox" else "UPDATE"
    change(store, f"CREATE TRIGGER no BEFORE {kind} ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(DataError, match=r"STORE_CONSTRAINT"):
        promotions.advance(promotion.promotion_id, PromotionState.COMMITTED, events=[promoted()])
    assert promotions.open_promotion().state is PromotionState.PREPARED
    assert active(store) == []
    assert active(store, "clm_models", "version") == []
    assert look(store, "SELECT count(*) FROM clm_outbox") == [(0,)]


@pytest.mark.parametrize("end", ENDS)
def test_an_end_is_an_end_and_told_once(promotions, outbox, end):
    """I-7: a recovery that runs twice must not publish twice."""
    promotion = prepared(promotions)
    rollback = RollbackInitiated(model_id=FIRST, reason="x", timestamp="t")
    promotions.advance(promotion.promotion_id, end, events=[rollback])
    with pytest.raises(PromotionError, match=rf"PROMOTION_CLOSED: promotion 1 .* {end.value}"):
        promotions.advance(promotion.promotion_id, PromotionState.ROLLING_BACK, events=[rollback])
    assert outbox.waiting_count() == 1
    assert outbox.unpublished(1)[0].trace_id == "p07_1"


def test_a_promotion_that_is_not_there_cannot_advance(promotions):
    """A restored store must not swallow it."""
    with pytest.raises(PromotionError, match=r"PROMOTION_UNKNOWN"):
        promotions.advance(7, PromotionState.STAGED)


def test_a_model_that_was_never_recorded_becomes_active_all_the_same(promotions, journal, store):
    """The engine runs on it; at the neighbours' nothing is made up, and nothing else stays active."""
    record(journal, FIRST)
    promotions.advance(prepared(promotions).promotion_id, PromotionState.COMMITTED)
    promotions.advance(prepared(promotions, SECOND).promotion_id, PromotionState.COMMITTED)
    assert active(store, "clm_models", "version") == [(SECOND,)]
    assert active(store) == []


def test_a_neighbour_that_came_later_gets_the_active_model(promotions, journal, store):
    """The engine may migrate its bare table at any time."""
    (sql,) = look(store, "SELECT sql FROM sqlite_master WHERE name = 'ai_model_versions'")[0]
    change(store, "DROP TABLE ai_model_versions")
    record(journal, FIRST)
    change(store, sql)
    promotions.advance(prepared(promotions).promotion_id, PromotionState.COMMITTED)
    assert active(store) == [(FIRST,)]


def test_the_hash_of_a_file_of_ours_is_known_and_that_of_a_stranger_is_not(promotions):
    """L3: only files with a recorded hash are loaded. An aborted promotion removed its file."""
    first = prepared(promotions)
    promotions.advance(first.promotion_id, PromotionState.ABORTED)
    assert promotions.known_sha256(first.candidate_path) is None
    second = prepared(promotions, SECOND)
    promotions.advance(second.promotion_id, PromotionState.COMMITTED)
    assert promotions.known_sha256(second.candidate_path) == second.candidate_sha256
    assert promotions.known_sha256(MODELS / "old.pth") is None
