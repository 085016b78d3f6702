"""From an entry on a trigger stream to a durable task: read, insert, then acknowledge.

An entry that is acknowledged is in the store; one that could not be stored stays pending in Redis and
is read again. A repeat adds nothing, because the store knows (stream, id, payload hash).
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import redis
import structlog
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from clm.bus.client import address, refused, reply_word, talking_to
from clm.bus.losses import LossCounter
from clm.bus.requests import NotOurs, Rejected, payload_sha256, read_trigger
from clm.bus.streams import DEAD_LETTER_MAXLEN, TRIGGER_STREAMS, dead_letter_stream
from clm.domain.task import Delivery, Trigger
from clm.errors import BusUnavailable, ClmError, ConfigError
from clm.ports import Clock, TaskQueue

log = structlog.get_logger()

GROUP = "clm"
BLOCK_MS = 2000
BATCH = 500
CLAIM_EVERY_S = 30.0
CLAIM_IDLE_MS = 60_000
"""Enough, because nothing long happens between reading and acknowledging."""
BLOCKED_RETRY_S = 30.0
DEAD_LETTER_BYTES = 4096
MAX_DELIVERIES = 5
"""An entry that was delivered more often has ended the process each time; it is put aside unread."""

Fields = dict[bytes, bytes]
Entry = tuple[bytes, Fields]
"""Id and fields; no fields for a pending entry that was trimmed from the stream meanwhile."""


def consumer_name(machine_id: str) -> str:
    """Return the one name this machine reads under; a name that changed would strand its pending entries."""
    return f"clm@{machine_id[:8]}"


class TriggerConsumer:
    """Reads the trigger streams as one consumer of the group `clm`; for one thread."""

    def __init__(
        self,
        client: redis.Redis,
        queue: TaskQueue,
        clock: Clock,
        *,
        consumer: str,
        streams: Sequence[str] = TRIGGER_STREAMS,
        block_ms: int = BLOCK_MS,
        claim_every_s: float = CLAIM_EVERY_S,
        claim_idle_ms: int = CLAIM_IDLE_MS,
    ) -> None:
        """Raises ConfigError REDIS_TIMEOUTS where blocking reads could outlast the socket timeout."""
        _check_block(client, block_ms)
        self._client = client
        self._queue = queue
        self._clock = clock
        self._consumer = consumer
        self._streams = tuple(streams)
        self._block_ms = block_ms
        self._claim_every_s = claim_every_s
        self._claim_idle_ms = claim_idle_ms
        self._claim_at = 0.0
        self._ready: set[str] = set()
        self._undrained: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._create_refused: BusUnavailable | None = None
        self.blocked: dict[str, BusUnavailable] = {}
        """Streams that cannot be read because their key is something else."""
        self.losses = LossCounter(client, GROUP)
        self.streams_gone = False
        """A stream or its group vanished since somebody last looked; whoever looks takes it back."""

    def forget(self) -> None:
        """Start over after a lost connection: look for the groups, read the own history first."""
        self._ready.clear()
        self._undrained.clear()
        self.losses.forget()
        self._claim_at = 0.0

    def poll_once(self, block_ms: int | None = None) -> int:
        """Handle what is pending and what is new, waiting at most `block_ms` for the latter; return how many.

        Raises:
            BusUnavailable: Redis is away or refuses us.
            StoreBusy, DataError: the store took nothing; nothing was acknowledged.
        """
        try:
            with talking_to(self._client):
                self._find_groups()
                handled = self._drain_history() + self._claim_abandoned()
                # BLOCK 0 would wait for ever.
                return handled + self._read_new(max(1, self._block_ms if block_ms is None else block_ms))
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
        log.warning("bus.group_lost", reply=word, streams=",".join(self._streams))
        return True

    def _find_groups(self) -> None:
        """Make sure of stream and group; from id 0, so that what was sent before us counts too."""
        self._create_refused = None
        for stream in self._streams:
            if stream not in self._ready and self._clock.monotonic() >= self._retry_at.get(stream, 0.0):
                self._find_group(stream)
        if not self._ready:
            raise next(iter(self.blocked.values()))

    def _find_group(self, stream: str) -> None:
        try:
            self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except OutOfMemoryError as exc:
            # Refused before Redis looks whether the group is there; reading works without memory.
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
                handled += self._handle_again(stream, entries)
                last = entries[-1][0]
            self._undrained.discard(stream)
        return handled

    def _claim_abandoned(self) -> int:
        """Take over entries that another consumer, or a former life of ours, left unacknowledged."""
        if self._clock.monotonic() < self._claim_at:
            return 0
        handled = sum(self._claim_stream(stream) for stream in sorted(self._ready))
        self._claim_at = self._clock.monotonic() + self._claim_every_s
        return handled

    def _claim_stream(self, stream: str) -> int:
        handled, cursor = 0, b"0-0"
        while True:
            reply: list[Any] = self._client.xautoclaim(
                stream, GROUP, self._consumer, self._claim_idle_ms, cursor, count=BATCH
            )
            cursor, entries, *trimmed = reply  # the third part exists since Redis 7
            for entry_id in trimmed[0] if trimmed else []:
                log.warning("trigger.trimmed", stream=stream, entry_id=entry_id.decode())
            handled += self._handle_again(stream, [entry for entry in entries if entry[0] is not None])
            if cursor == b"0-0":
                return handled

    def _read_new(self, block_ms: int) -> int:
        self.losses.look(sorted(self._ready))
        handled = 0
        for stream, entries in self._read(dict.fromkeys(sorted(self._ready), b">"), block_ms).items():
            self.losses.note_read(stream, len(entries))
            self._undrained.add(stream)  # until the batch is through: a store that fails leaves it pending
            handled += self._handle(stream, entries)
            self._undrained.discard(stream)
        return handled

    def _read(self, positions: dict[str, bytes], block_ms: int | None) -> dict[str, list[Entry]]:
        reply = self._client.xreadgroup(
            GROUP, self._consumer, cast(Any, positions), count=BATCH, block=block_ms
        )
        return {stream.decode(): entries for stream, entries in cast(list[Any], reply)}

    def _handle_again(self, stream: str, entries: Sequence[Entry]) -> int:
        """Handle what was delivered before, but for what has ended the process too often."""
        if not entries:
            return 0
        pending = cast(
            list[dict[str, Any]],
            self._client.xpending_range(
                stream, GROUP, min=entries[0][0], max=entries[-1][0], count=len(entries)
            ),
        )
        deadly = {one["message_id"] for one in pending if one["times_delivered"] > MAX_DELIVERIES}
        buried = [
            entry_id
            for entry_id, fields in entries
            if fields
            and entry_id in deadly
            and self._bury(_delivery(stream, entry_id, fields), fields, _DEADLY)
        ]
        if buried:
            self._client.xack(stream, GROUP, *buried)
        return len(buried) + self._handle(stream, [entry for entry in entries if entry[0] not in deadly])

    def _handle(self, stream: str, entries: Sequence[Entry]) -> int:
        """Store the good ones of a batch in one transaction and acknowledge with one command."""
        if not entries:
            return 0
        done: list[bytes] = []
        accepted: list[tuple[Delivery, Trigger]] = []
        poison: list[tuple[Delivery, Fields, str]] = []
        for entry_id, fields in entries:
            if not fields:
                # Trimmed after it was delivered: nothing is left to read, only the pending mark.
                log.warning("trigger.trimmed", stream=stream, entry_id=entry_id.decode())
                done.append(entry_id)
                continue
            delivery = _delivery(stream, entry_id, fields)
            match read_trigger(stream, fields):
                case Trigger() as trigger:
                    accepted.append((delivery, trigger))
                    done.append(entry_id)
                case NotOurs(reason=reason):
                    log.info("trigger.ignored", stream=stream, entry_id=delivery.entry_id, reason=reason)
                    done.append(entry_id)
                case Rejected(reason=reason):
                    poison.append((delivery, fields, reason))
        self._store(stream, accepted)
        done += [
            delivery.entry_id.encode()
            for delivery, fields, why in poison
            if self._bury(delivery, fields, why)
        ]
        if done:
            self._client.xack(stream, GROUP, *done)
        return len(done)

    def _store(self, stream: str, accepted: Sequence[tuple[Delivery, Trigger]]) -> None:
        if not accepted:
            return
        try:
            task_ids = sorted(set(self._queue.accept(accepted, self._clock.now())))
        except ClmError:
            self._forgive(stream, accepted)
            raise
        first, trigger = accepted[0]
        log.info(
            "trigger.accepted",
            stream=stream,
            entry_id=first.entry_id,
            n=len(accepted),
            task_ids=",".join(map(str, task_ids[:5])),
            reason=trigger.reason,
            requested_by=trigger.requested_by,
        )

    def _forgive(self, stream: str, accepted: Sequence[tuple[Delivery, Trigger]]) -> None:
        """Set back how often these were delivered: the store refused them, they ended nobody."""
        ids = [delivery.entry_id for delivery, _ in accepted]
        with suppress(RedisError):
            self._client.xclaim(stream, GROUP, self._consumer, 0, cast(Any, ids), retrycount=0, justid=True)

    def _bury(self, delivery: Delivery, fields: Fields, reason: str) -> bool:
        """Put an entry aside for a person; False where Redis takes no dead letter now, to be tried again."""
        try:
            self._client.xadd(
                dead_letter_stream(delivery.stream),
                {
                    "orig_id": delivery.entry_id,
                    "reason": reason,
                    "sha256": delivery.payload_sha256,
                    "payload": _cut(fields),
                },
                maxlen=DEAD_LETTER_MAXLEN,
                approximate=True,
            )
        except ResponseError as exc:
            refusal = refused(exc, address(self._client))
            log.warning("trigger.dead_letter_refused", entry_id=delivery.entry_id, code=refusal.code)
            return False
        self._queue.bury(delivery, reason, self._clock.now())
        log.warning("trigger.rejected", stream=delivery.stream, entry_id=delivery.entry_id, reason=reason)
        return True


_DEADLY = f"delivered {MAX_DELIVERIES} times, and the process ended each time before it was stored"


def _delivery(stream: str, entry_id: bytes, fields: Fields) -> Delivery:
    return Delivery(stream=stream, entry_id=entry_id.decode(), payload_sha256=payload_sha256(fields))


def _cut(fields: Fields) -> bytes:
    return b"\n".join(name + b"=" + value for name, value in fields.items())[:DEAD_LETTER_BYTES]


def _check_block(client: redis.Redis, block_ms: int) -> None:
    """A read that blocks as long as the socket waits looks like a dead server (fault C10)."""
    timeout_s = client.connection_pool.connection_kwargs.get("socket_timeout")
    if not timeout_s or not 0 < block_ms <= 0.4 * timeout_s * 1000:
        raise ConfigError(
            "REDIS_TIMEOUTS",
            f"reading blocks for {block_ms} ms with a socket timeout of {timeout_s} s; "
            f"it must be more than 0 and at most 0.4 of the timeout",
        )
