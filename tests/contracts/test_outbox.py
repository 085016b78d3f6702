"""The rules of ports.Outbox, for the store's outbox and for the one in memory."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clm.clock import iso
from clm.events import PerformanceAlert, RetrainingStarted
from clm.ports import BusState, Outbox
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import APPENDED_AFTER_S, SURE_SAVES, SqliteOutbox
from tests.builders import NOW
from tests.fakes import FakeClock
from tests.memory_store import MemoryOutbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An outbox and the clock that it reads."""

    outbox: Outbox
    clock: FakeClock

    def append(self, *job_ids: str) -> None:
        self.outbox.append(
            [
                RetrainingStarted(model="patchtst", timestamp="t", job_id=job_id, trigger_reason="drift")
                for job_id in job_ids
            ],
            "trace",
        )

    def publish(self, server: str) -> None:
        """Mark everything that waits as taken by this life of the server."""
        self.outbox.mark_published([row.seq for row in self.outbox.unpublished(9999)], server)

    def waiting(self) -> list[tuple[int, str]]:
        return [(row.seq, row.event_id) for row in self.outbox.unpublished(9999)]

    def settle(
        self, server: str, *, saved: bool = False, appends: bool = False, flushed: bool = False
    ) -> int:
        return self.outbox.settle(BusState(server=server, saved=saved, appends=appends, flushed=flushed))


def in_memory(_directory: Path, clock: FakeClock) -> Outbox:
    return MemoryOutbox(clock)


def in_the_store(directory: Path, clock: FakeClock) -> Outbox:
    path = directory / "store.db"
    create_store(path)
    migrate(path)
    return SqliteOutbox(path, clock)


@pytest.fixture(params=[in_memory, in_the_store], ids=["fake", "sqlite"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make: Callable[[Path, FakeClock], Outbox] = request.param
    clock = FakeClock()
    return Case(outbox=make(tmp_path, clock), clock=clock)


def test_events_wait_in_the_order_of_their_seq(case: Case) -> None:
    """Times may jump; the seq does not."""
    case.append("a", "b")
    case.clock.pass_by(-60)
    case.append("c")
    rows = case.outbox.unpublished(2)
    assert [json.loads(row.payload_json)["job_id"] for row in rows] == ["a", "b"]
    assert [row.seq for row in case.outbox.unpublished(9)] == [1, 2, 3]
    assert len({row.event_id for row in case.outbox.unpublished(9)}) == 3
    assert case.outbox.waiting_count() == 3


def test_a_row_carries_what_its_reader_needs(case: Case) -> None:
    """The stream's name, the time of the record, and the run that the event belongs to."""
    case.append("a")
    (row,) = case.outbox.unpublished(1)
    assert row.event_type == "learning.retraining.started"
    assert (row.trace_id, row.correlation_id) == ("trace", "trace")
    assert row.created_at == iso(NOW)
    assert json.loads(row.payload_json)["event_type"] == row.event_type


def test_a_figure_that_is_not_finite_travels_as_null(case: Case) -> None:
    """Strict readers refuse NaN."""
    alert = PerformanceAlert(
        model_id="m", severity="warn", message="x", timestamp="t", metadata={"auroc": float("nan")}
    )
    case.outbox.append([alert], "t")
    (row,) = case.outbox.unpublished(1)
    assert json.loads(row.payload_json, parse_constant=pytest.fail)["metadata"] == {"auroc": None}


def test_a_published_event_waits_no_longer_and_the_others_keep_their_ids(case: Case) -> None:
    """A reader recognises a duplicate by the id, so a second try must carry the same."""
    case.append(*map(str, range(1200)))
    (first, *rest) = case.waiting()
    case.outbox.mark_published([seq for seq, _ in rest], "A")
    case.outbox.mark_published([], "A")
    assert case.waiting() == [first]
    assert case.outbox.waiting_count() == 1


def test_an_event_that_another_server_took_waits_again_under_its_id(case: Case) -> None:
    """A restarted Redis may have lost what it had not saved; the order stays."""
    case.append("a", "b")
    before = case.waiting()
    case.publish("A")
    assert case.settle("A") == 0
    assert case.waiting() == []
    assert case.settle("B") == 2
    assert case.waiting() == before
    assert case.settle("B") == 0, "what waits is not lost"


def test_the_first_server_that_took_an_event_counts(case: Case) -> None:
    """A repeat that is marked later must not hide that the event was lost."""
    case.append("a")
    case.publish("A")
    case.outbox.mark_published([1], "B")
    assert case.settle("B") == 1


def test_an_event_is_kept_after_enough_saves_and_not_before(case: Case) -> None:
    """The first save that ends after an event may have begun before it."""
    case.append("a")
    case.publish("A")
    for _ in range(SURE_SAVES - 1):
        assert case.settle("A", saved=True) == 0
    assert case.settle("B") == 1
    case.publish("B")
    for _ in range(SURE_SAVES):
        assert case.settle("B", saved=True) == 0
    assert case.settle("C") == 0
    assert case.waiting() == []


def test_an_appended_event_is_kept_after_two_seconds_and_not_before(case: Case) -> None:
    """The append-only file is synced once a second."""
    case.append("a")
    case.publish("A")
    case.clock.pass_by(APPENDED_AFTER_S - 0.1)
    assert case.settle("A", appends=True) == 0
    assert case.settle("B") == 1
    case.publish("B")
    case.clock.pass_by(APPENDED_AFTER_S)
    assert case.settle("B", appends=True) == 0
    assert case.settle("C") == 0


def test_a_flushed_stream_puts_back_what_is_not_kept(case: Case) -> None:
    """The server lives on, its stream is gone: what two saves were seen after is not sent again."""
    case.append("kept")
    case.publish("A")
    for _ in range(SURE_SAVES):
        case.settle("A", saved=True)
    case.append("unsure")
    case.publish("A")
    assert case.settle("A", flushed=True) == 1
    assert [seq for seq, _ in case.waiting()] == [2]
