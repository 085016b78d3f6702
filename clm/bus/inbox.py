"""Turn entries of the trigger streams into durable tasks: read, insert, then acknowledge.

An acknowledged entry is in the store. An entry that could not be stored stays pending in Redis and is read
again. A repeat has no effect, because the store records (stream, id, payload hash).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import redis
import structlog
from redis.exceptions import OutOfMemoryError, ResponseError

from clm.bus.bounded import PageSize, judgeable
from clm.bus.client import address, refused, reply_word, talking_to
from clm.bus.entries import GROUP, Entry, EntryHandler
from clm.bus.losses import LossCounter
from clm.bus.streams import TRIGGER_STREAMS
from clm.errors import BusUnavailable, ConfigError
from clm.ports import Clock, TaskQueue

log = structlog.get_logger()

BLOCK_MS = 2000
BATCH = 500
DRAIN_S = 2.0
"""Seconds for pending entries in one poll; then events and heartbeats have their turn."""
DRAINED_AT_ONCE = 100
CLAIM_EVERY_S = 30.0
CLAIM_IDLE_MS = 60_000
"""One consumer is enough: the time between reading and acknowledging is short."""
BLOCKED_RETRY_S = 30.0
_FIRST = b"0"


def consumer_name(machine_id: str) -> str:
    """Return this machine's consumer name; changing it would strand pending entries."""
    return f"clm@{machine_id[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A consumer's streams, model family and waiting times."""

    consumer: str
    """Name of the consumer within the group `clm`; it must stay the same across restarts."""
    family: str
    """Requests for other model families are acknowledged and ignored."""
    streams: tuple[str, ...] = TRIGGER_STREAMS
    block_ms: int = BLOCK_MS
    """Longest wait for a new entry."""
    claim_every_s: float = CLAIM_EVERY_S
    """Interval between checks for entries that another consumer left unacknowledged."""
    claim_idle_ms: int = CLAIM_IDLE_MS
    """Pending time after which an entry is claimed."""


class TriggerConsumer:
    """Reads the trigger streams as one consumer of the group `clm`; not thread-safe."""

    def __init__(
        self, client: redis.Redis, queue: TaskQueue, clock: Clock, subscription: Subscription
    ) -> None:
        """Connect the parts.

        Raises:
            ConfigError: REDIS_TIMEOUTS, a blocking read could outlast the socket timeout.
        """
        _check_block(client, subscription.block_ms)
        self._client = client
        self._handler = EntryHandler(
            client,
            queue,
            clock,
            consumer=subscription.consumer,
            family=subscription.family,
            sign_of_life=lambda: self.sign_of_life(),
        )
        self._queue = queue
        self.sign_of_life: Callable[[], None] = lambda: None
        """Called after each part of a batch; the bus thread sets it."""
        self._page = PageSize(BATCH)
        self._clock = clock
        self._subscription = subscription
        self._claim_at = 0.0
        self._ready: set[str] = set()
        self._undrained: dict[str, bytes] = {}
        """Streams with pending entries of ours, and the last id handled in this pass."""
        self._drained: set[str] = set()
        self._reconnected: set[str] = set()
        """Streams read again because a connection or a reply was lost, not because the process crashed."""
        self._retry_at: dict[str, float] = {}
        self._create_refused: BusUnavailable | None = None
        self.blocked: dict[str, BusUnavailable] = {}
        """Streams that cannot be read because their key has another type."""
        self.losses = LossCounter(client, GROUP)
        self.streams_gone = False
        """True after a stream or its group has disappeared; the reader resets it to False."""

    @property
    def family(self) -> str:
        """Return the model family whose requests are accepted."""
        return self._subscription.family

    def forget(self) -> None:
        """Start over after a lost connection: check the groups and read pending entries first."""
        self._ready.clear()
        self._undrained.clear()
        self._reconnected |= self._drained
        self.losses.forget()
        self._claim_at = 0.0

    def poll_once(self, block_ms: int | None = None) -> int:
        """Handle pending and new entries, wait up to `block_ms` for new ones, and return their number.

        Raises:
            BusUnavailable: Redis is unavailable or denies access.
            StoreBusy, DataError: the store failed; nothing was acknowledged.
        """
        try:
            with talking_to(self._client):
                self._find_groups()
                handled = self._drain_history() + self._claim_abandoned()
                # BLOCK 0 would wait forever.
                return handled + self._read_new(
                    max(1, self._subscription.block_ms if block_ms is None else block_ms)
                )
        except BusUnavailable as exc:
            if isinstance(exc.__cause__, ResponseError) and self._group_was_lost(exc.__cause__):
                return 0
            raise

    def _group_was_lost(self, exc: ResponseError) -> bool:
        word = reply_word(exc)
        if word not in {"NOGROUP", "UNBLOCKED", "WRONGTYPE"}:
            return False
        self._ready.clear()
        if self._create_refused:
            raise self._create_refused
        self.streams_gone = True
        self.losses.forget()
        log.warning("bus.group_lost", reply=word, streams=",".join(self._subscription.streams))
        return True

    def _find_groups(self) -> None:
        """Create stream and group if missing; start at id 0 to include entries sent earlier."""
        self._create_refused = None
        for stream in self._subscription.streams:
            if stream not in self._ready and self._clock.monotonic() >= self._retry_at.get(stream, 0.0):
                self._find_group(stream)
        if not self._ready:
            raise next(iter(self.blocked.values()))

    def _find_group(self, stream: str) -> None:
        try:
            self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
            # The first start, or a flush that an ended process did not report: events may be gone, too.
            self.streams_gone = True
        except OutOfMemoryError as exc:
            # Redis rejects this even if the group exists; reading still works without memory.
            self._create_refused = refused(exc, address(self._client))
        except ResponseError as exc:
            word = reply_word(exc)
            if word == "WRONGTYPE":
                self._block(stream, exc)
                return
            if word != "BUSYGROUP":
                raise
        self.blocked.pop(stream, None)
        self._ready.add(stream)
        self._undrained.setdefault(stream, _FIRST)

    def _block(self, stream: str, exc: ResponseError) -> None:
        self.blocked[stream] = refused(exc, address(self._client), key=stream)
        self._retry_at[stream] = self._clock.monotonic() + BLOCKED_RETRY_S
        log.error("trigger.stream_blocked", stream=stream, error=self.blocked[stream].message)

    def _drain_history(self) -> int:
        """Handle pending entries of ours for a few seconds; the next poll continues from there."""
        handled, enough_at = 0, self._clock.monotonic() + DRAIN_S
        for stream in sorted(self._undrained):
            while times := self._pending(stream, self._undrained[stream]):
                handled += self._drain_page(stream, times)
                if self._clock.monotonic() > enough_at:
                    return handled
            del self._undrained[stream]
            self._reconnected.discard(stream)
            self._drained.add(stream)
        return handled

    def _pending(self, stream: str, after: bytes) -> dict[bytes, int]:
        """Return the ids of our next pending entries with their deliveries so far, without reading them."""
        pending = self._client.xpending_range(
            stream,
            GROUP,
            min=f"({after.decode()}",
            max="+",
            count=min(self._page.count, DRAINED_AT_ONCE),
            consumername=self._subscription.consumer,
        )
        return {one["message_id"]: one["times_delivered"] for one in cast(list[dict[str, Any]], pending)}

    def _drain_page(self, stream: str, times: dict[bytes, int]) -> int:
        """Handle one page of pending entries; those that crashed the process are never read."""
        if stream in self._reconnected:
            self._handler.forgive(stream, list(times))
            times = dict.fromkeys(times, 0)
        handled, deadly = self._handler.bury_deadly(stream, times)
        page = self._read({stream: self._undrained[stream]}, None, len(times) - handled).get(stream, [])
        entries = [one for one in page if one[0] not in deadly]
        whole = judgeable(entries)
        crashed_before = max(times.values()) > 0
        handle = self._handler.handle_again if crashed_before else self._handler.handle
        handled += handle(stream, whole)
        if len(whole) < len(entries):
            self._handler.forgive(stream, [entry_id for entry_id, _ in entries[len(whole) :]])
        self._undrained[stream] = whole[-1][0] if whole else list(times)[-1]
        return handled

    def _claim_abandoned(self) -> int:
        """Claim entries that another consumer or an earlier process left unacknowledged."""
        if self._clock.monotonic() < self._claim_at:
            return 0
        for stream in sorted(self._ready):
            self._claim_stream(stream)
        self._claim_at = self._clock.monotonic() + self._subscription.claim_every_s
        return self._drain_history()

    def _claim_stream(self, stream: str) -> None:
        """Claim ids only: a page of payloads from another consumer has no bound."""
        cursor = b"0-0"
        while True:
            reply: list[Any] = self._client.execute_command(  # type: ignore[no-untyped-call]
                *self._claim_command(stream, cursor)
            )
            claimed = _Claimed(*reply)
            for entry_id in claimed.trimmed:
                # Redis 7 has removed the entry from the pending list; Redis 6.2 leaves that to the drain.
                log.warning("trigger.trimmed", stream=stream, entry_id=entry_id.decode())
            if claimed.ids:
                self._undrained[stream] = _FIRST
            self.sign_of_life()
            cursor = claimed.cursor
            if cursor == b"0-0":
                return

    def _claim_command(self, stream: str, cursor: bytes) -> tuple[str | bytes | int, ...]:
        ours = (self._subscription.consumer, self._subscription.claim_idle_ms)
        return ("XAUTOCLAIM", stream, GROUP, *ours, cursor, "COUNT", BATCH, "JUSTID")

    def _read_new(self, block_ms: int) -> int:
        self.losses.look(sorted(self._ready))
        handled, count = 0, self._page.count
        for stream, entries in self._read(dict.fromkeys(sorted(self._ready), b">"), block_ms, count).items():
            self.losses.note_read(stream, len(entries))
            was_drained = stream not in self._undrained
            self._undrained.setdefault(stream, _FIRST)  # if the store fails, the batch stays pending
            whole = judgeable(entries, alone=False)
            handled += self._handler.handle(stream, whole)
            if len(whole) < len(entries):
                self._handler.forgive(stream, [entry_id for entry_id, _ in entries[len(whole) :]])
            elif was_drained:
                del self._undrained[stream]
        return handled

    def forget_old_deliveries(self, until: datetime, *, keep: int) -> int:
        """Delete inbox rows of entries that Redis cannot deliver again; return their number.

        Redis delivers an entry again while it is pending. A group that is created again starts at 0 and
        delivers all entries that the stream still has.

        Raises:
            BusUnavailable, StoreBusy, DataError: nothing was deleted from the rest of the streams.
        """
        gone = 0
        for stream in sorted(self._ready):
            with talking_to(self._client):
                about: dict[str, Any] = self._client.xinfo_stream(stream)
                summary = self._client.xpending(stream, GROUP)
            first = about["first-entry"]
            held = [_millis(entry_id) for entry_id in (summary["min"], first and first[0]) if entry_id]
            gone += self._queue.forget_deliveries(
                stream, before_ms=min(held, default=None), until=until, keep=keep
            )
            self.sign_of_life()
        return gone

    def _read(self, positions: dict[str, bytes], block_ms: int | None, count: int) -> dict[str, list[Entry]]:
        """Return up to `count` entries of each stream; values that are too long are missing."""
        if count < 1:
            return {}
        reply = self._client.xreadgroup(
            GROUP, self._subscription.consumer, cast(Any, positions), count=count, block=block_ms
        )
        read: dict[str, list[Entry]] = {
            stream.decode(): list(page) for stream, page in cast(list[Any], reply)
        }
        if read:
            self._page.note(entry for page in read.values() for entry in page)
        self.sign_of_life()
        return read


class _Claimed(NamedTuple):
    """Reply to XAUTOCLAIM with JUSTID; Redis 7 added `trimmed`."""

    cursor: bytes
    ids: list[bytes]
    trimmed: list[bytes] = []  # noqa: RUF012  # never changed


def _millis(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _check_block(client: redis.Redis, block_ms: int) -> None:
    """Reject a blocking read close to the socket timeout: it would look like a dead server (fault C10)."""
    timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout")
    if not timeout_s or not 0 < block_ms <= 0.4 * timeout_s * 1000:
        raise ConfigError(
            "REDIS_TIMEOUTS",
            f"reading blocks for {block_ms} ms with a socket timeout of {timeout_s} s; "
            f"it must be more than 0 and at most 0.4 of the timeout",
        )
