"""Events are stored in the transaction they describe. Each keeps its id until it is published."""

from typing import Any

import pytest

from clm.errors import DataError
from clm.events import RetrainingStarted
from clm.store.json_text import to_text
from tests.builders import run_start
from tests.store.conftest import change, look


def started(**changes: Any) -> RetrainingStarted:
    values = {
        "model": "patchtst",
        "timestamp": "2026-01-02T03:04:05Z",
        "job_id": "p07_1",
        "trigger_reason": "drift",
    }
    return RetrainingStarted(**{**values, **changes})


def test_a_published_event_waits_no_longer_and_the_others_keep_their_ids(outbox, store):
    """Readers detect duplicates by the id, so a retry must have the same one."""
    outbox.append([started() for _ in range(1200)], "t")
    before = {row.seq: row.event_id for row in outbox.unpublished(2000)}
    outbox.mark_published([seq for seq in before if seq > 1], "A")
    outbox.mark_published([], "A")
    (left,) = outbox.unpublished(10)
    assert (left.seq, left.event_id) == (1, before[1])
    assert outbox.waiting_count() == 1
    assert look(store, "SELECT count(*) FROM clm_outbox WHERE published_at IS NOT NULL") == [(1199,)]


def test_a_seq_is_never_given_out_again(outbox, store):
    """Also not after the rows were cleaned up."""
    outbox.append([started()], "t")
    change(store, "DELETE FROM clm_outbox")
    outbox.append([started()], "t")
    assert [row.seq for row in outbox.unpublished(9)] == [2]


def test_what_has_no_meaning_in_json_is_refused():
    """A memory address in a payload would be a lie that looks like a fact."""
    with pytest.raises(TypeError, match=r"not JSON serializable: object"):
        to_text({"x": object()})


@pytest.mark.parametrize("table", ["clm_runs", "clm_outbox"])
def test_a_state_and_its_events_are_written_together_or_not_at_all(journal, store, table):
    """There must be no run without its event, and no event of a missing run."""
    change(store, f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(DataError, match=r"STORE_CONSTRAINT"):
        journal.start_run(run_start(trigger_reason="drift"), [started()])
    for name in ("clm_runs", "clm_outbox", "model_training_runs"):
        assert look(store, f"SELECT count(*) FROM {name}") == [(0,)]
