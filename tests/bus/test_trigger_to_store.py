"""From a stream to the real store: an acknowledged trigger is stored exactly once."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from structlog.testing import capture_logs

from clm.bus.entries import GROUP
from clm.bus.relay import OutboxRelay
from clm.bus.streams import MODEL_RETRAIN
from clm.clock import SystemClock
from clm.errors import StoreBusy
from clm.events import RetrainingStarted
from clm.store.outbox import SqliteOutbox
from clm.store.tables import METADATA
from clm.store.tasks import SqliteTaskQueue

pytestmark = pytest.mark.needs_redis

WISH = {"model": "patchtst", "source": "test"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE training_tasks (id INTEGER PRIMARY KEY, symbols VARCHAR NOT NULL, "
            '"limit" INTEGER NOT NULL, status VARCHAR NOT NULL, created_at DATETIME, '
            "completed_at DATETIME, details TEXT)"
        )
        connection.execute("CREATE TABLE ai_training_samples (id INTEGER PRIMARY KEY, symbol VARCHAR)")
        connection.commit()
    engine = create_engine(f"sqlite:///{path}")
    METADATA.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def tasks(store: Path) -> SqliteTaskQueue:
    return SqliteTaskQueue(store, SystemClock(), busy_limit_s=0.2)


def count(store: Path, sql: str) -> int:
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute(sql).fetchone()[0])


def test_c6_a_storm_of_triggers_is_one_pending_task_in_the_store(client, plain, store, tasks, make_consumer):
    """A burst of triggers causes one training; the inbox records every entry."""
    pipeline = plain.pipeline(transaction=False)
    for n in range(2_000):
        pipeline.xadd(MODEL_RETRAIN, {**WISH, "n": n})
    pipeline.execute()
    consumer = make_consumer(client, queue=tasks)
    started, handled = time.monotonic(), 0
    with capture_logs():
        while handled < 2_000:
            handled += consumer.poll_once()
    assert time.monotonic() - started < 60
    assert tasks.pending_count() == 1
    assert count(store, "SELECT count(*) FROM clm_inbox WHERE state = 'accepted'") == 2_000
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0


def test_c2_a_trigger_that_was_stored_is_known_when_it_comes_again(
    client, plain, store, tasks, make_consumer
):
    """The connection breaks before XACK; the next process finds the pending entry."""
    consumer = make_consumer(client, queue=tasks)
    consumer.poll_once()
    plain.xadd(MODEL_RETRAIN, WISH)

    class DiesAfterStoring:
        def accept(self, *args: object) -> list[int]:
            tasks.accept(*args)  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_consumer(client, queue=DiesAfterStoring()).poll_once()
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 1
    assert make_consumer(client, queue=tasks).poll_once() == 1
    assert count(store, "SELECT count(*) FROM clm_tasks") == 1
    assert count(store, "SELECT triggers FROM clm_tasks") == 1
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0


def test_a5_a_locked_store_keeps_the_trigger_pending_in_redis(
    client, plain, store, tasks, make_consumer: Callable[..., object]
):
    """Another program holds the write lock for longer than the timeout."""
    plain.xadd(MODEL_RETRAIN, WISH)
    consumer = make_consumer(client, queue=tasks)
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            consumer.poll_once()
        assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 1
        other.execute("ROLLBACK")
    assert consumer.poll_once() == 1
    assert tasks.pending_count() == 1


def test_c17_triggers_that_come_during_a_training_are_one_task_after_it(client, plain, tasks, make_consumer):
    """The running task is unchanged; all triggers that arrive meanwhile share one task."""
    clock = SystemClock()
    consumer = make_consumer(client, queue=tasks)
    plain.xadd(MODEL_RETRAIN, WISH)
    consumer.poll_once()
    running = tasks.claim(clock.now())
    for _ in range(3):
        plain.xadd(MODEL_RETRAIN, WISH)
    assert consumer.poll_once() == 3
    assert tasks.pending_count() == 1
    tasks.complete(running.task_id, clock.now(), "KEEP")
    after = tasks.claim(clock.now())
    assert after.task_id != running.task_id
    assert tasks.claim(clock.now()) is None


def test_c8_the_same_id_with_another_payload_is_another_trigger(client, plain, store, tasks, make_consumer):
    """A Redis server restored from an old dump reuses ids."""
    for reason in ("before", "after"):
        plain.xadd(MODEL_RETRAIN, {**WISH, "reason": reason}, id="1-1")
        make_consumer(client, queue=tasks).poll_once()
        plain.flushall()
    assert count(store, "SELECT count(*) FROM clm_inbox WHERE entry_id = '1-1'") == 2


def test_c4_a_dead_letter_is_noted_in_the_store_with_its_reason(client, plain, store, tasks, make_consumer):
    """The dead-letter stream is bounded; the store keeps the record."""
    plain.xadd(MODEL_RETRAIN, {"payload": "{broken"})
    make_consumer(client, queue=tasks).poll_once()
    assert (
        count(store, "SELECT count(*) FROM clm_inbox WHERE state = 'dead' AND reason LIKE '%not JSON%'") == 1
    )
    assert tasks.pending_count() == 0


def test_an_outbox_row_reaches_the_stream_once_it_was_published(client, plain, store):
    """The real outbox with the real relay."""
    outbox = SqliteOutbox(store, SystemClock())
    events = [
        RetrainingStarted(
            model="patchtst", timestamp="2026-01-10T00:00:00Z", job_id=f"j{n}", trigger_reason="r"
        )
        for n in range(5)
    ]
    outbox.append(events, trace_id="run-1")
    relay = OutboxRelay(client, outbox, host="h")
    assert relay.drain_once() == 5
    assert outbox.waiting_count() == 0
    entries = plain.xrange("quantum:stream:learning.retraining.started")
    assert [fields["seq"] for _, fields in entries] == ["1", "2", "3", "4", "5"]
    assert len({fields["event_id"] for _, fields in entries}) == 5
