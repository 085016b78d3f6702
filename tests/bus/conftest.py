"""Real redis-servers on Unix sockets, and a store in memory for what the bus hands over."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from clm.bus.client import connect
from clm.bus.inbox import TriggerConsumer
from clm.clock import SystemClock
from clm.domain.task import Delivery, Trigger
from clm.events import Event
from clm.ports import BusState, OutboxRow

BINARY = shutil.which("redis-server")


class RedisServer:
    """One redis-server of our own; ended by its pid."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert BINARY
        common = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, *common, "--save", "", *self.options], stdout=log, stderr=log
            )
        self.await_answer()

    def await_answer(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                with redis.Redis(unix_socket_path=str(self.socket)) as probe:
                    probe.ping()
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """As by power loss."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


@pytest.fixture
def make_server() -> Iterator[Callable[..., RedisServer]]:
    """Start servers with given options; short paths, because a socket's path has at most 107 bytes."""
    if BINARY is None:
        pytest.skip("redis-server is not installed")
    made: list[RedisServer] = []

    def make(*options: str) -> RedisServer:
        server = RedisServer(Path(tempfile.mkdtemp(prefix="clm-redis-")), *options)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture
def server(make_server: Callable[..., RedisServer]) -> RedisServer:
    return make_server()


@pytest.fixture
def make_client() -> Iterator[Callable[..., redis.Redis]]:
    made: list[redis.Redis] = []

    def make(url: str, password: str | None = None, **options: float) -> redis.Redis:
        made.append(connect(url, password, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: RedisServer, make_client: Callable[..., redis.Redis]) -> redis.Redis:
    """A client as the daemon has it."""
    return make_client(server.url)


@pytest.fixture
def plain(server: RedisServer) -> Iterator[redis.Redis]:
    """A client as a stranger has it."""
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2) as stranger:
        yield stranger


class MemoryQueue:
    """The promises of ports.TaskQueue that the bus relies on, in memory."""

    def __init__(self) -> None:
        self.inbox: dict[Delivery, int | str] = {}
        self.open: dict[str, int] = {}
        self.triggers: list[Trigger] = []
        self.batches = 0
        self.fail_before: Exception | None = None
        self.fail_after: Exception | None = None

    def accept(self, deliveries: Sequence[tuple[Delivery, Trigger]], now: datetime) -> list[int]:
        self._raise_once("fail_before")
        self.batches += 1
        task_ids = []
        for delivery, trigger in deliveries:
            if delivery not in self.inbox:
                self.inbox[delivery] = self.open.setdefault(trigger.dedupe_key, len(self.open) + 1)
                self.triggers.append(trigger)
            task_ids.append(self.inbox[delivery])
        self._raise_once("fail_after")
        return task_ids  # type: ignore[return-value]

    def bury(self, delivery: Delivery, reason: str, now: datetime) -> None:
        self.inbox[delivery] = f"dead: {reason}"

    def buried(self) -> list[str]:
        return [what for what in self.inbox.values() if isinstance(what, str)]

    def _raise_once(self, when: str) -> None:
        error, _ = getattr(self, when), setattr(self, when, None)
        if error:
            raise error


class MemoryOutbox:
    """The promises of ports.Outbox that the relay relies on, in memory."""

    def __init__(self) -> None:
        self.rows: list[OutboxRow] = []
        self.published: set[int] = set()
        self.servers: dict[int, str] = {}
        self.appended: list[Event] = []
        self.states: list[BusState] = []
        self.fail_mark: Exception | None = None

    def add(self, n: int, event_type: str = "learning.retraining.completed") -> None:
        for _ in range(n):
            seq = len(self.rows) + 1
            self.rows.append(
                OutboxRow(
                    seq=seq,
                    event_id=f"e{seq}",
                    event_type=event_type,
                    payload_json=f'{{"event_type":"{event_type}","n":{seq}}}',
                    created_at="2026-01-10T00:00:00.000000Z",
                    trace_id="run-1",
                    correlation_id="task-1",
                )
            )

    def append(self, events: Sequence[Event], trace_id: str) -> None:
        self.appended += events

    def unpublished(self, limit: int) -> list[OutboxRow]:
        return [row for row in self.rows if row.seq not in self.published][:limit]

    def settle(self, state: BusState) -> int:
        self.states.append(state)
        lost = {seq for seq, server in self.servers.items() if state.flushed or server != state.server}
        self.published -= lost
        self.servers = {seq: server for seq, server in self.servers.items() if seq not in lost}
        return len(lost)

    def mark_published(self, seqs: Sequence[int], server: str) -> None:
        error, self.fail_mark = self.fail_mark, None
        if error:
            raise error
        self.published.update(seqs)
        self.servers |= dict.fromkeys(seqs, server)

    def waiting_count(self) -> int:
        return len(self.rows) - len(self.published)


class ToldClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 10, 14, 2, tzinfo=UTC) + timedelta(seconds=self.seconds - 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


@pytest.fixture
def clock() -> ToldClock:
    return ToldClock()


@pytest.fixture
def make_consumer(queue: MemoryQueue) -> Callable[..., TriggerConsumer]:
    def make(client: redis.Redis, **options: object) -> TriggerConsumer:
        settings: dict[str, object] = {"consumer": "clm@0123abcd", "block_ms": 50, **options}
        clock = settings.pop("clock", SystemClock())
        return TriggerConsumer(client, settings.pop("queue", queue), clock, **settings)  # type: ignore[arg-type]

    return make
