"""Handle entries of a trigger stream: queue a task, ignore the entry or dead-letter it.

An entry whose handling raises goes to the dead-letter stream with the exception's last line; the rest of the
batch is stored. An entry that crashes the process is dead-lettered after MAX_DELIVERIES deliveries, by its id
and unread. From the second delivery on, entries are handled one at a time and in order, so the oldest pending
one is the culprit. If the process crashes again after that, there are several culprits: all entries with as
many deliveries are dead-lettered, because the service manager limits the number of starts.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import redis
import structlog
from redis.exceptions import RedisError, ResponseError

from clm.bus.bounded import Discarded, discarded
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
BURIED_AT_ONCE = 100
"""Entries that are dead-lettered with one command and one transaction."""
UNREAD = "unread"
"""Placeholder for the payload hash of an entry that was dead-lettered by its id."""
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
        self,
        client: redis.Redis,
        queue: TaskQueue,
        clock: Clock,
        *,
        consumer: str,
        family: str,
        sign_of_life: Callable[[], None],
    ) -> None:
        self._client = client
        self._queue = queue
        self._clock = clock
        self._consumer = consumer
        self._family = family
        self._sign_of_life = sign_of_life

    def bury_deadly(self, stream: str, times: Mapping[bytes, int]) -> tuple[int, frozenset[bytes]]:
        """Dead-letter unread, of a page of pending entries, those that crashed the process.

        Returns how many Redis accepted as dead letters, and the ids of all; the others are retried later.
        `times` has the deliveries of each entry before this page is read, in the order of the ids.
        """
        deadly = _deadly(times)
        dead: list[Poison] = [(_unread(stream, entry_id), {}, _DEADLY) for entry_id in deadly]
        return self._put_aside(stream, dead), frozenset(deadly)

    def handle_again(self, stream: str, entries: Sequence[Entry]) -> int:
        """Handle redelivered entries one at a time, so that a crash names the culprit."""
        try:
            return sum(self.handle(stream, [one]) for one in entries)
        except ClmError:
            # Redis or the store failed, and the process is alive: no entry of the page is to blame.
            self.forgive(stream, [entry_id for entry_id, _ in entries])
            raise

    def handle(self, stream: str, entries: Sequence[Entry]) -> int:
        """Store the valid entries of a batch in one transaction and acknowledge them with one command."""
        accepted, poison, done = _sorted_out(stream, entries, self._family)
        unstored = self._store(stream, accepted)
        missing = {delivery.entry_id for delivery, _, _ in unstored}
        done += [d.entry_id.encode() for d, _, _ in accepted if d.entry_id not in missing]
        if done:
            self._client.xack(stream, GROUP, *done)
        self._sign_of_life()
        return len(done) + self._put_aside(stream, [*poison, *unstored])

    def _put_aside(self, stream: str, poison: Sequence[Poison]) -> int:
        """Dead-letter entries, acknowledge those that Redis accepted, and return their number.

        Each part costs one transaction and is acknowledged before the next, so a slow disk does not silence
        the bus.
        """
        handled = 0
        for start in range(0, len(poison), BURIED_AT_ONCE):
            buried = self._bury(stream, poison[start : start + BURIED_AT_ONCE])
            if buried:
                self._client.xack(stream, GROUP, *buried)
            handled += len(buried)
            self._sign_of_life()
        return handled

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

    def _bury(self, stream: str, poison: Sequence[Poison]) -> list[bytes]:
        """Dead-letter entries and return their ids; those that Redis rejects now are retried."""
        pipeline = self._client.pipeline(transaction=False)
        for delivery, fields, reason in poison:
            letter: dict[Any, Any] = {
                "orig_id": delivery.entry_id,
                "reason": reason,
                "sha256": delivery.payload_sha256,
                "payload": _cut(fields),
            }
            pipeline.xadd(dead_letter_stream(stream), letter, maxlen=DEAD_LETTER_MAXLEN, approximate=True)
        buried: list[tuple[Delivery, str]] = []
        for (delivery, _, reason), reply in zip(poison, pipeline.execute(raise_on_error=False), strict=True):
            if not isinstance(reply, Exception):
                buried.append((delivery, reason))
            elif isinstance(reply, ResponseError):
                code = refused(reply, address(self._client)).code
                log.warning("trigger.dead_letter_refused", entry_id=delivery.entry_id, code=code)
            else:
                raise reply
        self._note_dead(buried)
        for delivery, reason in buried:
            log.warning("trigger.rejected", stream=stream, entry_id=delivery.entry_id, reason=reason)
        return [delivery.entry_id.encode() for delivery, _ in buried]

    def _note_dead(self, buried: Sequence[tuple[Delivery, str]]) -> None:
        """Record dead letters in the store, in one transaction if possible."""
        if not buried:
            return
        try:
            self._queue.bury(buried, self._clock.now())
        except ClmError:
            raise
        except Exception as exc:  # noqa: BLE001  # the dead letter is in Redis; only the store's row is missing
            if len(buried) > 1:
                for one in buried:
                    self._note_dead([one])
                return
            log.error("trigger.dead_letter_unnoted", error=last_line(exc), at=raised_at(exc))


_DEADLY = f"delivered {MAX_DELIVERIES} times or more; the process crashed each time before it was stored"


def _deadly(times: Mapping[bytes, int]) -> list[bytes]:
    """Return the ids of the entries to dead-letter unread: the oldest, or all if it was not the only one."""
    oldest = next(iter(times.values()), 0)
    if oldest < MAX_DELIVERIES:
        return []
    suspects = list(times)[: 1 if oldest == MAX_DELIVERIES else len(times)]
    return [entry_id for entry_id in suspects if times[entry_id] >= MAX_DELIVERIES]


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
        if lost := discarded(fields):
            reason = f"a value has {lost.size_bytes} bytes" if lost.alone else "the entry is too large"
            poison.append((_unread(stream, entry_id), fields, f"{reason}; it was not read"))
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


def _unread(stream: str, entry_id: bytes) -> Delivery:
    return Delivery(stream=stream, entry_id=entry_id.decode(), payload_sha256=UNREAD)


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
        parts.append((_start(name, left) + b"=" + _start(value, left))[:left])
        left -= len(parts[-1]) + 1
    return b"\n".join(parts)


def _start(text: bytes | Discarded, length: int) -> bytes:
    if isinstance(text, Discarded):
        return f"({text.size_bytes} bytes, not read)".encode()
    return text[:length]
