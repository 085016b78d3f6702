"""The schedule's times outlive the daemon."""

from datetime import timedelta

from clm.store.schedule import SqliteScheduleState
from tests.builders import NOW


def test_times_are_kept_by_name_and_apart(store, clock):
    """D4: what was due while the daemon was down is caught up from these rows."""
    state = SqliteScheduleState(store, clock)
    assert (state.last_fired("retrain"), state.next_due("retrain")) == (None, None)
    state.save_next_due("retrain", NOW + timedelta(hours=24))
    state.save_last_fired("retrain", NOW)
    state.save_last_fired("retrain", NOW + timedelta(microseconds=1))
    state.save_last_fired("other", NOW - timedelta(days=1))
    again = SqliteScheduleState(store, clock)
    assert again.last_fired("retrain") == NOW + timedelta(microseconds=1)
    assert again.next_due("retrain") == NOW + timedelta(hours=24)
    assert again.next_due("other") is None
