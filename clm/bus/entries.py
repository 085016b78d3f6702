"""Handle entries of a trigger stream: queue a task, ignore the entry or dead-letter it.

An entry whose handling raises goes to the dead-letter stream with the exception's last line; the rest of the
batch is stored. An entry that crashes the process is dead-lettered after MAX_DELIVERIES deliveries. From the
second delivery on, entries are handled one at a time and in order, so the oldest pending one is the culprit.
If the process crashes again after that, there are several culprits: all entries with as many deliveries are
dead-lettered, because the service manager limits the number of starts.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import redis
import structlog
from redis.exceptions import RedisError, ResponseError

from clm.bus.client import address, refused
from clm.bus.requests import NotOurs, Rejected, payload_sha256, read_trigger
from clm.bus.streams import DEAD_LETTER_MAXLEN, dead_letter_stream
from clm.domain.task import Delivery, Trigger
from clm.errors import ClmError
from clm.logs import last_line, raised_at
from clm.ports import Clock, TaskQueue

log = structlog.get_logger()

GROUP = "clm"
DEAD_LETTER_BYTES = 4096
MAX_DELIVERIES = 2
"""Deliveries after which an entry that crashed the process each time is dead-lettered unread.

The next start does so. It must come before the service manager gives up (StartLimitBurst of the unit).
"""
UNHASHABLE = "unhashable"
"""Placeholder for the payload hash of an entry that could not be hashed."""

Fields = dict[bytes, bytes]
Entry = tuple[bytes, Fields]
"""Id and fields; no fields for a pending entry that has been trimmed from the stream."""
Accepted = tuple[Delivery, Fields, Trigger]
Poison = tuple[Delivery, Fields, str]
"""An entry to dead-letter, and the reason."""


class EntryHandler:
    """Stores, dead-letters and acknowledges the entries of one consumer; not thread-safe.

    Methods raise StoreBusy, DataError and redis-py exceptions; unfinished entries are then not acknowledged.
    """

    def __init__(
        self, client: redis.Redis, queue: TaskQueue, clock: Clock, *, consumer: str, family: str
    ) -> None:
        self._client = client
        self._queue = queue
        self._clock = clock
        self._consumer = consumer
        self._family = family

    def handle_again(self, stream: str, entries: Sequence[Entry]) -> int:
        """Handle a page of redelivered entries; dead-letter the oldest if it crashed the process."""
        if not entries:
            return 0
        times = self._times_delivered(stream, entries)
        if max(times.values(), default=1) <= 1:
            return self.handle(stream, entries)
        deadly = _deadly(entries, times)
        try:
            handled = self._put_aside(
                stream, [(_delivery(stream, *one), one[1], _DEADLY) for one in entries if one[0] in deadly]
            )
            return handled + sum(self.handle(stream, [one]) for one in entries if one[0] not in deadly)
        except ClmError:
            # Redis or the store failed, and the process is alive: no entry of the page is to blame.
            self.forgive(stream, [entry_id for entry_id, _ in entries])
            raise

    def _times_delivered(self, stream: str, entries: Sequence[Entry]) -> dict[bytes, int]:
        pending = cast(
            list[dict[str, Any]],
            self._client.xpending_range(
                stream, GROUP, min=entries[0][0], max=entries[-1][0], count=len(entries)
            ),
        )
        return {one["message_id"]: one["times_delivered"] for one in pending}

    def handle(self, stream: str, entries: Sequence[Entry]) -> int:
        """Store the valid entries of a batch in one transaction and acknowledge them with one command."""
        accepted, poison, done = _sorted_out(stream, entries, self._family)
        unstored = self._store(stream, accepted)
        missing = {delivery.entry_id for delivery, _, _ in unstored}
        done += [d.entry_id.encode() for d, _, _ in accepted if d.entry_id not in missing]
        if done:
            self._client.xack(stream, GROUP, *done)
        return len(done) + self._put_aside(stream, [*poison, *unstored])

    def _put_aside(self, stream: str, poison: Sequence[Poison]) -> int:
        """Dead-letter entries, acknowledge those that Redis accepted, and return their number."""
        buried = [entry[0].entry_id.encode() for entry in poison if self._bury(*entry)]
        if buried:
            self._client.xack(stream, GROUP, *buried)
        return len(buried)

    def _store(self, stream: str, accepted: Sequence[Accepted]) -> list[Poison]:
        """Store a batch of triggers; return the entries that could not be stored, with the reason.

        Raises:
            ClmError: the store failed for all or part of the batch; nothing was acknowledged.
        """
        if not accepted:
            return []
        try:
            task_ids = self._accept(stream, accepted)
        except ClmError:
            raise
        except Exception as exc:  # noqa: BLE001  # one bad entry must not stop the others
            log.error("trigger.unstorable", n=len(accepted), error=last_line(exc), at=raised_at(exc))
            if len(accepted) == 1:
                return [(accepted[0][0], accepted[0][1], _handling_raised(exc))]
            return [poison for one in accepted for poison in self._store(stream, [one])]
        first, _, trigger = accepted[0]
        log.info(
            "trigger.accepted",
            stream=stream,
            entry_id=first.entry_id,
            n=len(accepted),
            task_ids=",".join(map(str, task_ids[:5])),
            reason=trigger.reason,
            requested_by=trigger.requested_by,
        )
        return []

    def _accept(self, stream: str, accepted: Sequence[Accepted]) -> list[int]:
        try:
            deliveries = [(delivery, trigger) for delivery, _, trigger in accepted]
            return sorted(set(self._queue.accept(deliveries, self._clock.now())))
        except ClmError:
            self.forgive(stream, [delivery.entry_id for delivery, _, _ in accepted])
            raise

    def forgive(self, stream: str, ids: Sequence[bytes | str]) -> None:
        """Reset the delivery counts of entries: they did not crash the process."""
        with suppress(RedisError):
            self._client.xclaim(stream, GROUP, self._consumer, 0, cast(Any, ids), retrycount=0, justid=True)

    def _bury(self, delivery: Delivery, fields: Fields, reason: str) -> bool:
        """Dead-letter an entry; return False if Redis rejects it now, so that it is retried."""
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
        try:
            self._queue.bury(delivery, reason, self._clock.now())
        except ClmError:
            raise
        except Exception as exc:  # noqa: BLE001  # the dead letter is in Redis; only the store's row is missing
            log.error("trigger.dead_letter_unnoted", error=last_line(exc), at=raised_at(exc))
        log.warning("trigger.rejected", stream=delivery.stream, entry_id=delivery.entry_id, reason=reason)
        return True


_DEADLY = f"delivered {MAX_DELIVERIES} times or more; the process crashed each time before it was stored"


def _deadly(entries: Sequence[Entry], times: dict[bytes, int]) -> set[bytes]:
    """Return the ids of the entries to dead-letter unread: the oldest, or all if it was not the only one."""
    oldest = times.get(entries[0][0], 0)
    if oldest <= MAX_DELIVERIES:
        return set()
    suspects = entries[:1] if oldest == MAX_DELIVERIES + 1 else entries
    return {entry_id for entry_id, fields in suspects if fields and times.get(entry_id, 0) > MAX_DELIVERIES}


def _sorted_out(
    stream: str, entries: Sequence[Entry], family: str
) -> tuple[list[Accepted], list[Poison], list[bytes]]:
    """Return the triggers, the entries to dead-letter and the ids of the entries to drop."""
    accepted: list[Accepted] = []
    poison: list[Poison] = []
    nothing: list[bytes] = []
    for entry_id, fields in entries:
        if not fields:
            # Trimmed after delivery: only the pending mark is left.
            log.warning("trigger.trimmed", stream=stream, entry_id=entry_id.decode())
            nothing.append(entry_id)
            continue
        delivery = _delivery(stream, entry_id, fields)
        match _verdict(stream, fields, family):
            case Trigger() as trigger:
                accepted.append((delivery, fields, trigger))
            case NotOurs(reason=reason):
                log.info("trigger.ignored", stream=stream, entry_id=delivery.entry_id, reason=reason)
                nothing.append(entry_id)
            case Rejected(reason=reason):
                poison.append((delivery, fields, reason))
    return accepted, poison, nothing


def _verdict(stream: str, fields: Fields, family: str) -> Trigger | NotOurs | Rejected:
    try:
        return read_trigger(stream, fields, family)
    except Exception as exc:  # noqa: BLE001  # an unreadable entry must not stop the others
        log.error("trigger.unreadable", stream=stream, error=last_line(exc), at=raised_at(exc))
        return Rejected(reason=_handling_raised(exc))


def _handling_raised(exc: Exception) -> str:
    return f"handling it raised {last_line(exc)}"


def _delivery(stream: str, entry_id: bytes, fields: Fields) -> Delivery:
    try:
        sha256 = payload_sha256(fields)
    except Exception as exc:  # noqa: BLE001  # as in _verdict
        log.error("trigger.unhashable", stream=stream, error=last_line(exc), at=raised_at(exc))
        sha256 = UNHASHABLE
    return Delivery(stream=stream, entry_id=entry_id.decode(), payload_sha256=sha256)


def _cut(fields: Fields) -> bytes:
    parts, left = [], DEAD_LETTER_BYTES
    for name, value in fields.items():
        if left <= 0:
            break
        parts.append((name[:left] + b"=" + value[:left])[:left])
        left -= len(parts[-1]) + 1
    return b"\n".join(parts)
