"""Kill a real redis-server again and again while triggers and events pass through it."""

import random
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import redis

from clm.bus.client import connect
from clm.bus.confirm import Confirmation
from clm.bus.inbox import Subscription, TriggerConsumer
from clm.bus.relay import Heartbeat, OutboxRelay
from clm.bus.service import Backoff, BusWorker
from clm.bus.streams import MODEL_RETRAIN, event_stream
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from clm.events import PerformanceAlert
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.tasks import SqliteTaskQueue
from tests.bus.conftest import RedisServer

NAIVE = "quantum:stream:naive"
_EVENTS_A_STEP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What was left of the triggers and events after the last kill."""

    kills: int
    sent: int
    """Triggers that Redis accepted."""
    acknowledged_lost: int
    """Triggers that our group acknowledged and that are not in the inbox."""
    tasks: int
    double_tasks: int
    """Deliveries that a task counts more than once."""
    events: int
    events_lost: int
    naive_lost: int
    """Events lost by an outbox that trusts the reply to XADD."""


def storm(directory: Path, *, kills: int, triggers: int, events: int, seed: int = 1) -> Storm:
    """Send triggers and events while the server, which saves once a second, is killed again and again."""
    server = RedisServer(directory, "--save", "1 1", "--dbfilename", "dump.rdb")
    server.start()
    store = directory / "store.db"
    create_store(store)
    migrate(store)
    clock, stop, chance = SystemClock(), threading.Event(), random.Random(seed)
    outbox, queue = SqliteOutbox(store, clock), SqliteTaskQueue(store, clock)
    client = connect(server.url)
    subscription = Subscription(consumer="clm@storm", family=DEFAULT_LINE.family, block_ms=20)
    worker = BusWorker(
        TriggerConsumer(client, queue, clock, subscription),
        OutboxRelay(client, outbox, host="h", maxlen=1_000_000),
        Confirmation(client, outbox, clock, every_s=0.05),
        Heartbeat(client, clock),
        outbox,
        clock,
        backoff=Backoff(0.01, 0.1),
    )
    load = _Load(server, outbox, triggers=triggers, events=events)
    threads = [
        threading.Thread(target=worker.run, args=(stop,)),
        threading.Thread(target=load.run, args=(stop, kills)),
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(chance.uniform(0.1, 2.0))
            server.kill()
            server.start()
            load.kills += 1
        threads[1].join(120)
        _await_quiet(outbox, server)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    try:
        return load.result(store)
    finally:
        client.close()
        server.stop()


class _Load:
    """Producers: triggers, events through the outbox, and the same number of events through a naive one."""

    def __init__(self, server: RedisServer, outbox: SqliteOutbox, *, triggers: int, events: int) -> None:
        self._server = server
        self._outbox = outbox
        self._triggers = triggers
        self._events = events
        self.kills = 0
        self.sent: list[bytes] = []
        self._naive: list[int] = []

    def run(self, stop: threading.Event, kills: int) -> None:
        """Spread the load over all kills."""
        with redis.Redis(unix_socket_path=str(self._server.socket), protocol=2) as client:
            steps = self._events // _EVENTS_A_STEP
            for step in range(steps):
                self._outbox.append([_alert(step, n) for n in range(_EVENTS_A_STEP)], f"step {step}")
                self._send(client, step)
                while not stop.is_set() and step * kills > (self.kills + 1) * steps:
                    time.sleep(0.01)

    def _send(self, client: redis.Redis, step: int) -> None:
        each = self._triggers * _EVENTS_A_STEP // self._events
        for n in range(_EVENTS_A_STEP):
            self._naive_send(client, step * _EVENTS_A_STEP + n)
        for n in range(each):
            try:
                self.sent.append(client.xadd(MODEL_RETRAIN, {"model": "patchtst", "n": step * each + n}))
            except redis.RedisError:
                time.sleep(0.002)

    def _naive_send(self, client: redis.Redis, number: int) -> None:
        """Send until Redis replies, and believe the reply."""
        while True:
            try:
                client.xadd(NAIVE, {"n": number})
            except redis.RedisError:
                time.sleep(0.005)
            else:
                self._naive.append(number)
                return

    def result(self, store: Path) -> Storm:
        with (
            redis.Redis(unix_socket_path=str(self._server.socket), protocol=2) as client,
            closing(sqlite3.connect(store)) as connection,
        ):
            stream = event_stream(PerformanceAlert.event_type)
            arrived = {fields[b"event_id"].decode() for _, fields in client.xrange(stream)}
            written = {found for (found,) in connection.execute("SELECT event_id FROM clm_outbox")}
            known = [found for (found,) in connection.execute("SELECT entry_id FROM clm_inbox")]
            naive = {int(fields[b"n"]) for _, fields in client.xrange(NAIVE)}
            in_stream = {entry_id.decode() for entry_id, _ in client.xrange(MODEL_RETRAIN)}
            pending = client.xpending(MODEL_RETRAIN, "clm")["pending"]
            tasks, counted = connection.execute("SELECT count(*), sum(triggers) FROM clm_tasks").fetchone()
        assert pending == 0
        return Storm(
            kills=self.kills,
            sent=len(self.sent),
            acknowledged_lost=len(in_stream - set(known)),
            tasks=tasks,
            double_tasks=counted - len(set(known)),
            events=len(written),
            events_lost=len(written - arrived),
            naive_lost=len(set(self._naive) - naive),
        )


def _alert(step: int, n: int) -> PerformanceAlert:
    return PerformanceAlert(
        model_id="patchtst", severity="info", message=f"{step}/{n}", timestamp="", metadata={}
    )


def _await_quiet(outbox: SqliteOutbox, server: RedisServer) -> None:
    """Wait until all events are published and two more saves of the server were seen."""
    deadline = time.monotonic() + 60
    with redis.Redis(unix_socket_path=str(server.socket), protocol=2) as client:
        while time.monotonic() < deadline:
            client.set("storm", time.monotonic())
            quiet = not outbox.waiting_count()
            time.sleep(0.5)
            groups = client.xinfo_groups(MODEL_RETRAIN) if quiet else []
            if quiet and groups and not groups[0]["pending"] and not groups[0]["lag"]:
                return
    raise AssertionError("events still wait")
