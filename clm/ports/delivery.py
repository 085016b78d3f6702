"""Triggers of cycles, and events about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clm.domain.task import Delivery, Task, Trigger
from clm.events import Event


class TaskQueue(Protocol):
    """The queue in front of the cycle; a trigger is in it durably before it is acknowledged."""

    def submit(self, trigger: Trigger, now: datetime) -> int:
        """Insert a task, or return the pending one with the same dedupe key; a running one does not count."""
        ...

    def accept(self, deliveries: Sequence[tuple[Delivery, Trigger]], now: datetime) -> list[int]:
        """Insert inbox rows and tasks of a batch in one transaction; a delivery seen before adds nothing."""
        ...

    def bury(self, dead: Sequence[tuple[Delivery, str]], now: datetime) -> None:
        """Record deliveries that can never be a task, with the reasons, in one transaction."""
        ...

    def forget_deliveries(self, stream: str, *, before_ms: int | None, until: datetime, keep: int) -> int:
        """Delete old inbox rows of entries that Redis cannot deliver again; return their number.

        A row stays if its entry's id is from `before_ms` on, if it was received after `until`, or if it is
        among the newest `keep` of the stream. `before_ms` of None means that Redis holds no entry.
        """
        ...

    def claim(self, now: datetime, *, only_a_persons: bool = False) -> Task | None:
        """Take the oldest pending task, or a person's alone, and mark it running, attempts + 1."""
        ...

    def complete(self, task_id: int, now: datetime, outcome: str) -> None: ...
    def release(self, task_id: int, now: datetime, reason: str, *, counted: bool = True) -> None:
        """Put a running task back to pending; not `counted`, its attempt does not count."""
        ...

    def fail(self, task_id: int, now: datetime, reason: str) -> None: ...
    def recover(self, now: datetime) -> list[str]:
        """At start: running tasks back to pending, running runs to interrupted; return those run ids."""
        ...

    def pending_count(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An event that waits to be published; `seq` orders events, times do not."""

    seq: int
    event_id: str
    event_type: str
    payload_json: str
    created_at: str
    trace_id: str
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BusState:
    """What the bus says of itself, as far as published events depend on it."""

    server: str
    """Another one after every start."""
    saved: bool
    """A save to disk ended since the last look."""
    appends: bool
    """Every command is in a file within a second or two."""
    flushed: bool
    """A stream was found gone."""


class Outbox(Protocol):
    """Events written with the state they describe."""

    def append(self, events: Sequence[Event], trace_id: str) -> None: ...
    def unpublished(self, limit: int) -> list[OutboxRow]: ...
    def mark_published(self, seqs: Sequence[int], server: str) -> None:
        """Note that these events reached this life of the server."""
        ...

    def settle(self, state: BusState) -> int:
        """Note what the server surely kept, put back what it may have lost; return how many those are."""
        ...

    def waiting_count(self) -> int: ...
