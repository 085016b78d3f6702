"""The trading system's freeze keys."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis
from redis.exceptions import RedisError, ResponseError

from clm.bus.bounded import Discarded
from clm.bus.client import address, refused, reply_word, talking_to
from clm.bus.freeze_file import FreezeMemory, FreezeStore
from clm.bus.streams import FROZEN_KEY, MODE_KEY
from clm.clock import SystemClock
from clm.domain.freeze import Answer, Freeze, freeze_of, known_after
from clm.errors import BusUnavailable
from clm.logs import plain
from clm.ports import Clock

FREEZING_MODES = frozenset({"FREEZE", "LOCKDOWN"})
_RELEASED = frozenset({"", "0", "FALSE", "NO", "OFF"})
_FREEZING = frozenset({"1", "TRUE", "YES", "ON"})
_SILENT = frozenset({"REDIS_DOWN", "REDIS_TIMEOUT"})
_TRIES = 3


class RedisBrake:
    """Reads the freeze keys on each call; without a valid reply, the last known freeze applies.

    Threads may share one instance. Processes share its record.
    """

    def __init__(
        self, client: redis.Redis, record: FreezeStore | None = None, *, clock: Clock | None = None
    ) -> None:
        """Read the keys with a dedicated `client`; without a `record`, a restart loses the last freeze."""
        self._client = client
        self._record = record or FreezeMemory()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self.unknown_because: str | None = None
        """Why the last read had no valid reply, or None if it had one."""

    def frozen_because(self) -> str | None:
        """Return why training and promotion are stopped, or None if they are allowed."""
        return self.freeze().stops_because

    def freeze(self) -> Freeze:
        """Return the freeze and record what is known for the next read."""
        with self._lock:
            for _ in range(_TRIES):
                before = self._record.read()
                answer = self._ask()
                known = known_after(before, answer)
                if self._record.keep(before, known):
                    break
            return freeze_of(known, answer)

    def look(self) -> Freeze:
        """Return the freeze without recording it."""
        with self._lock:
            before, answer = self._record.read(), self._ask()
            return freeze_of(known_after(before, answer), answer)

    def _ask(self) -> Answer:
        at, server = self._clock.now(), self._server()
        try:
            with talking_to(self._client), _protocol_kept(server):
                frozen_because = self._read()
        except BusUnavailable as exc:
            self.unknown_because = exc.message
            return Answer(server=server, at=at, error=exc.message, is_silent=exc.code in _SILENT)
        self.unknown_because = None
        return Answer(server=server, at=at, frozen_because=frozen_because)

    def _read(self) -> str | None:
        """Return why the keys freeze learning; one freezing key is enough."""
        failed: BusUnavailable | None = None
        for key, meaning in _MEANINGS:
            try:
                if why := meaning(_text(self._client.get(key), self._server())):
                    return why
            except ResponseError as exc:
                if reply_word(exc) == "WRONGTYPE":
                    return f"{key} is not a string, which counts as frozen; delete the key"
                failed = refused(exc, address(self._client), key)
        if failed is not None:
            raise failed
        return None

    def _server(self) -> str:
        database = self._client.connection_pool.connection_kwargs.get("db") or 0
        return f"{address(self._client)}/{database}"


@contextmanager
def _protocol_kept(server: str) -> Iterator[None]:
    """Translate redis-py's exceptions for protocol violations into BusUnavailable."""
    try:
        yield
    except (RedisError, OSError, UnicodeError):
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError) as exc:
        detail = plain(f"{type(exc).__name__}: {exc}")[:200]
        message = f"Redis at {server} sent an invalid reply: {detail}"
        raise BusUnavailable("REDIS_PROTOCOL", message) from exc


def _frozen(value: str) -> str | None:
    if value.upper() in _RELEASED:
        return None
    why = f"learning is frozen: {FROZEN_KEY} = {value}"
    return why if value.upper() in _FREEZING else f"{why}; every value except 0, false, no and off freezes"


def _mode(value: str) -> str | None:
    mode = value.upper()
    return f"the system is in mode {mode}: {MODE_KEY}" if mode in FREEZING_MODES else None


_MEANINGS: tuple[tuple[str, Callable[[str], str | None]], ...] = ((FROZEN_KEY, _frozen), (MODE_KEY, _mode))


def _text(value: object, server: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Discarded):
        return f"a text of {value.size_bytes} bytes"  # not a release: FROZEN_KEY freezes
    if not isinstance(value, bytes):
        raise BusUnavailable(
            "REDIS_PROTOCOL",
            f"Redis at {server} replied to GET with {type(value).__name__}, not a string",
        )
    return plain(value.decode("utf-8", "replace").strip())[:50]
