"""Bound what one reply of Redis may hold in memory, while it is read from the socket.

A producer chooses the size of its entries: 500 entries of 4 MB are one reply of 2 GB.
The parser discards long values in pieces and returns their size instead. Ids stay readable, so a caller can
acknowledge an entry that it never held.

Invariant: while a reply is read, its values take at most REPLY_BYTES, and the socket's buffer at most one
value and one read of the socket.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeVar

from redis._parsers import _RESP2Parser
from redis._parsers.socket import SocketBuffer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.utils import SENTINEL

VALUE_BYTES = 128 * 1024
"""Longest value that is kept; valid triggers have at most 16 KiB, valid telemetry 64 KiB."""
REPLY_BYTES = 8 * 1024 * 1024
"""Most bytes of all values of one reply."""
FIRST_PAGE = 32
_SHORTEST_BYTES = 64
_OBJECT_BYTES = 64
"""Counted for every value: what Python adds to its bytes, roughly."""
_CHUNK_BYTES = 64 * 1024
_COMPACT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Discarded:
    """A value that was too long to keep."""

    size_bytes: int
    alone: bool
    """Its own length was too much; otherwise the rest of the reply was."""


Fields = Mapping[Any, Any]
Page = Sequence[tuple[bytes, Fields]]
E = TypeVar("E", bound=tuple[Any, Any])


def discarded(fields: Fields) -> Discarded | None:
    """Return a value of the entry that was discarded, or None if the entry is complete."""
    if not fields:
        return None
    parts = (part for pair in fields.items() for part in pair)
    return next((part for part in parts if isinstance(part, Discarded)), None)


def _is_own_fault(entry: tuple[Any, Any]) -> bool:
    """Return whether the entry is complete, or has a value that is too long by itself."""
    lost = discarded(entry[1])
    return lost is None or lost.alone


def judgeable(page: Sequence[E], *, alone: bool = True) -> list[E]:
    """Return the leading entries of a page that can be judged; read the others again.

    If the reply holds only this page (`alone`), its first entry cannot blame an earlier one.
    """
    start = 1 if alone else 0
    return [*page[:start], *takewhile(_is_own_fault, page[start:])]


class PageSize:
    """The number of entries to ask for: halved after a reply with discarded values, then grows again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = min(FIRST_PAGE, most)

    def note(self, entries: Iterable[tuple[Any, Any]]) -> None:
        """Adapt to the entries of the last reply."""
        if any(discarded(fields) for _, fields in entries):
            self.count = max(1, self.count // 2)
        else:
            self.count = min(self._most, self.count * 4)


class BoundedParser(_RESP2Parser):
    """Reads RESP2 as redis-py does, with a budget for each reply."""

    def read_response(self, disable_decoding: bool = False, timeout: object = SENTINEL) -> Any:
        """Return one reply in bytes; a failure leaves the connection unusable, and redis-py closes it."""
        self._left = REPLY_BYTES
        reply = self._reply(timeout, is_first=False)
        self._compact(0)
        return reply

    @property
    def _source(self) -> SocketBuffer:
        buffer: SocketBuffer | None = self._buffer
        if buffer is None:
            raise RedisConnectionError("Connection closed.")
        return buffer

    def _reply(self, timeout: object, *, is_first: bool) -> Any:
        raw = self._source.readline(timeout=timeout)
        if not raw:
            raise RedisConnectionError("Connection closed by server.")
        kind, rest = raw[:1], raw[1:]
        match kind:
            case b"$":
                return self._bulk(int(rest), timeout, is_first=is_first)
            case b"*":
                return self._array(int(rest), timeout)
            case b"-":
                return self._error(rest)
            case b":":
                return int(rest)
            case b"+":
                return rest
        raise InvalidResponse(f"Protocol Error: {raw[:100]!r}")

    def _error(self, text: bytes) -> Exception:
        error: Exception = self.parse_error(  # type: ignore[no-untyped-call]
            text.decode("utf-8", errors="replace")
        )
        if isinstance(error, RedisConnectionError):
            raise error
        return error

    def _array(self, length: int, timeout: object) -> list[Any] | None:
        if length < 0:
            return None
        return [self._reply(timeout, is_first=at == 0) for at in range(length)]

    def _bulk(self, length: int, timeout: object, *, is_first: bool) -> Any:
        if length < 0:
            return None
        # Names of streams and ids of entries come first in their array, and are always kept.
        is_name = is_first and length <= _SHORTEST_BYTES
        if not is_name and (length > VALUE_BYTES or length + _OBJECT_BYTES > self._left):
            self._skip(length + 2, timeout)
            return Discarded(size_bytes=length, alone=True) if length > VALUE_BYTES else _NO_ROOM
        self._left -= length + _OBJECT_BYTES
        value = self._source.read(length, timeout=timeout)
        self._compact(_COMPACT_BYTES)
        return value

    def _skip(self, length: int, timeout: object) -> None:
        while length:
            part = min(_CHUNK_BYTES, length)
            self._source.read(part - 2, timeout=timeout)  # the buffer reads two bytes more: the end of a line
            self._compact(_COMPACT_BYTES)
            length -= part

    def _compact(self, beyond: int) -> None:
        """Drop what was read from the socket's buffer once it is longer than `beyond`."""
        if self._source.get_pos() < beyond:
            return
        held = self._source._buffer
        rest = held.read()
        held.seek(0)
        held.truncate()
        held.write(rest)
        held.seek(0)


_NO_ROOM = Discarded(size_bytes=0, alone=False)
"""Shared: a reply with a million values over the budget costs one object."""
