"""Real redis-servers on Unix sockets, and an in-memory store for the bus."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from clm.bus.client import connect
from clm.bus.inbox import Subscription, TriggerConsumer
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from tests.memory_store import MemoryOutbox, MemoryQueue

BINARY = shutil.which("redis-server")


class RedisServer:
    """A redis-server for one test; stopped by its pid."""

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
        """Kill the server as in a power loss."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


@pytest.fixture
def make_server() -> Iterator[Callable[..., RedisServer]]:
    """Start servers with the given options; paths are short because a socket path has at most 107 bytes."""
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
    """A client configured like the daemon's."""
    return make_client(server.url)


@pytest.fixture
def plain(server: RedisServer) -> Iterator[redis.Redis]:
    """A client configured like another program's."""
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2) as stranger:
        yield stranger


class ToldClock:
    """A clock that only the test advances."""

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
        clock = options.pop("clock", SystemClock())
        store = options.pop("queue", queue)
        named: dict[str, object] = {"consumer": "clm@0123abcd", "family": DEFAULT_LINE.family, "block_ms": 50}
        return TriggerConsumer(client, store, clock, Subscription(**{**named, **options}))  # type: ignore[arg-type]

    return make
