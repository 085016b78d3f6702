"""Turn entries of the trigger streams into durable tasks: read, insert, then acknowledge.

An acknowledged entry is in the store. An entry that could not be stored stays pending in Redis and is read
again. A repeat has no effect, because the store records (stream, id, payload hash).
"""

from dataclasses import dataclass
from typing import Any, cast

import redis
import structlog
from redis.exceptions import OutOfMemoryError, ResponseError

from clm.bus.client import address, refused, reply_word, talking_to
from clm.bus.entries import GROUP, Entry, EntryHandler
from clm.bus.losses import LossCounter
from clm.bus.streams import TRIGGER_STREAMS
from clm.errors import BusUnavailable, ConfigError
from clm.ports import Clock, TaskQueue

log = structlog.get_logger()

BLOCK_MS = 2000
BATCH = 500
CLAIM_EVERY_S = 30.0
CLAIM_IDLE_MS = 60_000
"""One consumer is enough: the time between reading and acknowledging is short."""
BLOCKED_RETRY_S = 30.0


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
            client, queue, clock, consumer=subscription.consumer, family=subscription.family
        )
        self._clock = clock
        self._subscription = subscription
        self._claim_at = 0.0
        self._ready: set[str] = set()
        self._undrained: set[str] = set()
        self._drained: set[str] = set()
        self._reconnected: set[str] = set()
        """Streams read again because the connection was lost, not because the process crashed."""
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
        self._undrained.add(stream)

    def _block(self, stream: str, exc: ResponseError) -> None:
        self.blocked[stream] = refused(exc, address(self._client), key=stream)
        self._retry_at[stream] = self._clock.monotonic() + BLOCKED_RETRY_S
        log.error("trigger.stream_blocked", stream=stream, error=self.blocked[stream].message)

    def _drain_history(self) -> int:
        handled = 0
        for stream in sorted(self._undrained):
            last = b"0"
            while entries := self._read({stream: last}, None).get(stream):
                if stream in self._reconnected:
                    self._handler.forgive(stream, [entry_id for entry_id, _ in entries])
                handled += self._handler.handle_again(stream, entries)
                last = entries[-1][0]
            self._undrained.discard(stream)
            self._reconnected.discard(stream)
            self._drained.add(stream)
        return handled

    def _claim_abandoned(self) -> int:
        """Claim entries that another consumer or an earlier process left unacknowledged."""
        if self._clock.monotonic() < self._claim_at:
            return 0
        handled = sum(self._claim_stream(stream) for stream in sorted(self._ready))
        self._claim_at = self._clock.monotonic() + self._subscription.claim_every_s
        return handled

    def _claim_stream(self, stream: str) -> int:
        handled, cursor = 0, b"0-0"
        while True:
            reply: list[Any] = self._client.xautoclaim(
                stream,
                GROUP,
                self._subscription.consumer,
                self._subscription.claim_idle_ms,
                cursor,
                count=BATCH,
            )
            cursor, entries, *trimmed = reply  # Redis 7 added the third part
            for entry_id in trimmed[0] if trimmed else []:
                log.warning("trigger.trimmed", stream=stream, entry_id=entry_id.decode())
            handled += self._handler.handle_again(stream, [one for one in entries if one[0] is not None])
            if cursor == b"0-0":
                return handled

    def _read_new(self, block_ms: int) -> int:
        self.losses.look(sorted(self._ready))
        handled = 0
        for stream, entries in self._read(dict.fromkeys(sorted(self._ready), b">"), block_ms).items():
            self.losses.note_read(stream, len(entries))
            self._undrained.add(stream)  # until the batch is handled: if the store fails, it stays pending
            handled += self._handler.handle(stream, entries)
            self._undrained.discard(stream)
        return handled

    def _read(self, positions: dict[str, bytes], block_ms: int | None) -> dict[str, list[Entry]]:
        reply = self._client.xreadgroup(
            GROUP, self._subscription.consumer, cast(Any, positions), count=BATCH, block=block_ms
        )
        return {stream.decode(): entries for stream, entries in cast(list[Any], reply)}


def _check_block(client: redis.Redis, block_ms: int) -> None:
    """Reject a blocking read close to the socket timeout: it would look like a dead server (fault C10)."""
    timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout")
    if not timeout_s or not 0 < block_ms <= 0.4 * timeout_s * 1000:
        raise ConfigError(
            "REDIS_TIMEOUTS",
            f"reading blocks for {block_ms} ms with a socket timeout of {timeout_s} s; "
            f"it must be more than 0 and at most 0.4 of the timeout",
        )
