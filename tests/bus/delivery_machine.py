"""Random sequences of requests, runs and faults on a real redis-server and a real store.

The rules of delivery are checked after every step: an acknowledged trigger is in the inbox, at most one task
is pending, and no event is stored twice. At the end, with the server up, nothing is pending and every event
that is not surely saved is in its stream.
"""

import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from clm.bus.client import connect
from clm.bus.confirm import Confirmation
from clm.bus.entries import GROUP
from clm.bus.inbox import Subscription, TriggerConsumer
from clm.bus.relay import OutboxRelay
from clm.bus.streams import MODEL_RETRAIN, event_stream
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from clm.domain.task import Trigger
from clm.errors import ClmError
from clm.events import PerformanceAlert
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.tasks import SqliteTaskQueue
from tests.bus.conftest import RedisServer

STREAM = event_stream(PerformanceAlert.event_type)
UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "derandomize": True,
}
"""Settings of hypothesis: a step may wait for a real server."""
_WISH = {"model": "patchtst", "source": "machine"}


class JumpingClock:
    """A real monotonic clock with a wall clock that the test moves."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return self._real.now() + self.ahead

    def monotonic(self) -> float:
        return self._real.monotonic()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)


class Dies(BaseException):
    """The process ends here."""


class Delivery(RuleBasedStateMachine):
    """A daemon's queue, outbox and bus, driven step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="clm-machine-"))
        self.server = RedisServer(self.directory)
        self.server.start()
        self.store = self.directory / "store.db"
        create_store(self.store)
        migrate(self.store)
        self.clock = JumpingClock()
        self.up = True
        self.restart()

    @rule()
    def restart(self) -> None:
        """Start a process: it recovers the queue and opens its own connections."""
        self.queue = SqliteTaskQueue(self.store, self.clock)
        self.outbox = SqliteOutbox(self.store, self.clock)
        self.client = connect(self.server.url)
        named = Subscription(consumer="clm@machine", family=DEFAULT_LINE.family, block_ms=1)
        self.consumer = TriggerConsumer(self.client, self.queue, self.clock, named)
        self.relay = OutboxRelay(self.client, self.outbox, host="h", maxlen=100_000)
        self.confirmation = Confirmation(self.client, self.outbox, self.clock, every_s=0.0)
        self.queue.recover(self.clock.now())

    @rule(n=st.integers(1, 5), is_valid=st.booleans())
    def submit(self, n: int, is_valid: bool) -> None:
        """A producer sends triggers."""
        with suppress(redis.RedisError), self._plain() as plain:
            for _ in range(n):
                plain.xadd(MODEL_RETRAIN, _WISH if is_valid else {"x": "y"})

    @rule()
    def ask_by_hand(self) -> None:
        """A person's command writes to the store directly."""
        trigger = Trigger(model="patchtst", reason="r", requested_by="ops", source="cli")
        self.queue.submit(trigger, self.clock.now())

    @rule()
    def say(self) -> None:
        """The daemon stores an event."""
        alert = PerformanceAlert(model_id="p", severity="info", message="m", timestamp="", metadata={})
        self.outbox.append([alert], "trace")

    @rule()
    def one_round(self) -> None:
        """The bus thread runs its steps once."""
        steps = (self.consumer.poll_once, self._confirm, self.relay.drain_once)
        with capture_logs():
            for step in steps:
                try:
                    step()
                except ClmError:
                    self.consumer.forget()
                    self.confirmation.forget()

    @precondition(lambda self: self.up)
    @rule(before=st.booleans())
    def kill_while_storing(self, before: bool) -> None:
        """The process ends right before or right after a batch is stored."""
        accept = self.queue.accept

        def deadly(*given: object) -> list[int]:
            if not before:
                accept(*given)  # type: ignore[arg-type]
            raise Dies

        self.queue.accept = deadly  # type: ignore[method-assign]
        with capture_logs(), suppress(Dies, ClmError):
            self.consumer.poll_once()
        self.restart()

    @rule(end=st.sampled_from(["ok", "bad", "crash"]))
    def run(self, end: str) -> None:
        """A cycle ends well, fails, or ends the process."""
        task = self.queue.claim(self.clock.now())
        if task is None:
            return
        if end == "ok":
            self.queue.complete(task.task_id, self.clock.now(), "KEEP")
        elif end == "bad":
            self.queue.release(task.task_id, self.clock.now(), "failed")
        else:
            self.restart()

    @precondition(lambda self: self.up)
    @rule()
    def redis_ends(self) -> None:
        """The server ends without saving."""
        self.server.kill()
        self.up = False

    @precondition(lambda self: not self.up)
    @rule()
    def redis_returns(self) -> None:
        """The server starts from its last save: it may be older than what we know."""
        self.server.start()
        self.up = True

    @precondition(lambda self: self.up)
    @rule()
    def redis_saves(self) -> None:
        """A later end of the server rolls back to here."""
        with self._plain() as plain:
            plain.save()

    @precondition(lambda self: self.up)
    @rule()
    def redis_is_flushed(self) -> None:
        """Someone deletes all keys."""
        with self._plain() as plain:
            plain.flushall()

    @rule(days=st.sampled_from([-400, -1, 1, 4000]))
    def clock_jumps(self, days: int) -> None:
        """The wall clock is set."""
        ahead = self.clock.ahead + timedelta(days=days)
        self.clock.ahead = max(timedelta(days=-2000), min(ahead, timedelta(days=20_000)))

    @rule()
    def operator_closes_the_pending_task(self) -> None:
        """A person edits the table."""
        with closing(sqlite3.connect(self.store)) as connection, connection:
            connection.execute("UPDATE clm_tasks SET status = 'failed' WHERE status = 'pending'")

    @precondition(lambda self: self.up)
    @rule()
    def prune(self) -> None:
        """The inbox forgets whatever it may, of any age."""
        with capture_logs(), suppress(ClmError):
            self.consumer.forget_old_deliveries(self.clock.now() + timedelta(days=30_000), keep=0)

    @invariant()
    def at_most_one_task_is_pending(self) -> None:
        assert self._ask("SELECT count(*) FROM clm_tasks WHERE status = 'pending'") <= 1

    @invariant()
    def no_event_has_two_numbers(self) -> None:
        assert self._ask("SELECT count(*) - count(DISTINCT event_id) FROM clm_outbox") == 0

    @invariant()
    def what_was_acknowledged_is_in_the_store(self) -> None:
        """An entry that was read and is not pending is in the inbox."""
        if not self.up:
            return
        with self._plain() as plain:
            groups = plain.xinfo_groups(MODEL_RETRAIN) if plain.exists(MODEL_RETRAIN) else []
            for group in groups:
                read = plain.xrange(MODEL_RETRAIN, max=group["last-delivered-id"])
                pending = {
                    one["message_id"]
                    for one in plain.xpending_range(MODEL_RETRAIN, GROUP, min="-", max="+", count=100_000)
                }
                with closing(sqlite3.connect(self.store)) as connection:
                    known = {found for (found,) in connection.execute("SELECT entry_id FROM clm_inbox")}
                lost = {entry_id.decode() for entry_id, _ in read if entry_id not in pending} - known
                assert not lost

    def teardown(self) -> None:
        """With the server up and no more faults, everything is delivered."""
        try:
            if not self.up:
                self.redis_returns()
            self.restart()
            for _ in range(6):
                self.one_round()
            with self._plain() as plain:
                assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0
                arrived = {fields[b"event_id"].decode() for _, fields in plain.xrange(STREAM)}
            with closing(sqlite3.connect(self.store)) as connection:
                unsure = "SELECT event_id FROM clm_outbox WHERE is_kept = 0"
                assert {found for (found,) in connection.execute(unsure)} <= arrived
            self.at_most_one_task_is_pending()
        finally:
            self.client.close()
            self.server.stop()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _confirm(self) -> None:
        self.confirmation.look(flushed=self.consumer.streams_gone)
        self.consumer.streams_gone = False

    def _plain(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.server.socket), protocol=2)

    def _ask(self, query: str) -> int:
        with closing(sqlite3.connect(self.store)) as connection:
            return int(connection.execute(query).fetchone()[0])
