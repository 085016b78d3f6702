"""The queue and the outbox in memory, for tests of the bus; they pass tests/contracts."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clm.clock import SystemClock, iso
from clm.domain.task import Delivery, Task, Trigger
from clm.errors import DataError
from clm.events import Event
from clm.ports import BusState, Clock, OutboxRow
from clm.store.json_text import to_text
from clm.store.outbox import APPENDED_AFTER_S, SURE_SAVES


@dataclass
class _Row:
    """A task and its state: pending, running, completed, failed or coalesced."""

    task: Task
    status: str = "pending"


class MemoryQueue:
    """Fulfils ports.TaskQueue; `fail_before` and `fail_after` break the next call of `accept` once."""

    def __init__(self) -> None:
        self.inbox: dict[Delivery, int | str] = {}
        self.received: dict[Delivery, datetime] = {}
        self.rows: dict[int, _Row] = {}
        self.triggers: list[Trigger] = []
        """Of every delivery that was not known before."""
        self.batches = 0
        self.fail_before: Exception | None = None
        self.fail_after: Exception | None = None

    @property
    def open(self) -> list[int]:
        """The tasks that are pending."""
        return [task_id for task_id, row in self.rows.items() if row.status == "pending"]

    def buried(self) -> list[str]:
        return [what for what in self.inbox.values() if isinstance(what, str)]

    def submit(self, trigger: Trigger, now: datetime) -> int:
        waiting = self._pending(trigger.dedupe_key)
        if waiting is None:
            task_id = len(self.rows) + 1
            self.rows[task_id] = _Row(Task(task_id=task_id, trigger=trigger, attempts=0, created_at=now))
            return task_id
        if trigger.by_a_person:
            row = self.rows[waiting]
            joined = replace(
                row.task.trigger,
                reason=trigger.reason,
                requested_by=trigger.requested_by,
                source=trigger.source,
            )
            row.task = replace(row.task, trigger=joined)
        return waiting

    def accept(self, deliveries: Sequence[tuple[Delivery, Trigger]], now: datetime) -> list[int]:
        self._raise_once("fail_before")
        self.batches += 1
        for delivery, trigger in deliveries:
            if delivery not in self.inbox:
                self.inbox[delivery] = self.submit(trigger, now)
                self.received[delivery] = now
                self.triggers.append(trigger)
        self._raise_once("fail_after")
        accepted = (self.inbox[delivery] for delivery, _ in deliveries)
        return [task_id for task_id in accepted if isinstance(task_id, int)]

    def bury(self, dead: Sequence[tuple[Delivery, str]], now: datetime) -> None:
        for delivery, reason in dead:
            self.inbox.setdefault(delivery, f"dead: {reason}")
            self.received[delivery] = now

    def forget_deliveries(self, stream: str, *, before_ms: int | None, until: datetime, keep: int) -> int:
        ours = sorted((d for d in self.inbox if d.stream == stream), key=lambda d: self.received[d])
        old = [
            one
            for one in ours[: max(0, len(ours) - keep)]
            if self.received[one] <= until
            and (before_ms is None or int(one.entry_id.split("-")[0]) < before_ms)
        ]
        for one in old:
            del self.inbox[one]
        return len(old)

    def claim(self, now: datetime, *, only_a_persons: bool = False) -> Task | None:
        for task_id in sorted(self.open):
            row = self.rows[task_id]
            if row.task.trigger.by_a_person or not only_a_persons:
                row.status, row.task = "running", replace(row.task, attempts=row.task.attempts + 1)
                return row.task
        return None

    def complete(self, task_id: int, now: datetime, outcome: str) -> None:
        self._running(task_id).status = "completed"

    def fail(self, task_id: int, now: datetime, reason: str) -> None:
        self._running(task_id).status = "failed"

    def release(self, task_id: int, now: datetime, reason: str, *, counted: bool = True) -> None:
        row = self._running(task_id)
        self._put_back(row)
        if not counted:
            row.task = replace(row.task, attempts=row.task.attempts - 1)

    def recover(self, now: datetime) -> list[str]:
        """Put running tasks back; there are no runs here that could be interrupted."""
        for row in list(self.rows.values()):
            if row.status == "running":
                self._put_back(row)
        return []

    def pending_count(self) -> int:
        return len(self.open)

    def _pending(self, dedupe_key: str) -> int | None:
        keys = ((task_id, self.rows[task_id].task.trigger.dedupe_key) for task_id in self.open)
        return next((task_id for task_id, key in keys if key == dedupe_key), None)

    def _running(self, task_id: int) -> _Row:
        row = self.rows.get(task_id)
        if row is None or row.status != "running":
            state = row.status if row else "unknown"
            raise DataError("TASK_NOT_RUNNING", f"task {task_id} is {state}, not running")
        return row

    def _put_back(self, row: _Row) -> None:
        older = row.task.task_id
        if (newer := self._pending(row.task.trigger.dedupe_key)) is not None:
            self.rows[newer].status = "coalesced"
            self.inbox = {d: older if what == newer else what for d, what in self.inbox.items()}
        row.status = "pending"

    def _raise_once(self, when: str) -> None:
        error, _ = getattr(self, when), setattr(self, when, None)
        if error:
            raise error


@dataclass
class _Published:
    """What is known of an event that a server took."""

    server: str
    at: datetime
    saves_seen: int = 0
    is_kept: bool = False


class MemoryOutbox:
    """Fulfils ports.Outbox; `fail_mark` breaks the next call of `mark_published` once."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.rows: list[OutboxRow] = []
        self.appended: list[Event] = []
        self.states: list[BusState] = []
        self.fail_mark: Exception | None = None
        self._published: dict[int, _Published] = {}
        self._clock = clock or SystemClock()

    def add(self, n: int, event_type: str = "learning.retraining.completed") -> None:
        """Append `n` events whose ids are e1, e2, ..."""
        for _ in range(n):
            seq = len(self.rows) + 1
            self._append(
                event_type, f'{{"event_type":"{event_type}","n":{seq}}}', f"e{seq}", "run-1", "task-1"
            )

    def append(self, events: Sequence[Event], trace_id: str) -> None:
        self.appended += events
        for event in events:
            self._append(event.event_type, to_text(event.payload()), uuid.uuid4().hex, trace_id, trace_id)

    def unpublished(self, limit: int) -> list[OutboxRow]:
        return [row for row in self.rows if row.seq not in self._published][:limit]

    def mark_published(self, seqs: Sequence[int], server: str) -> None:
        error, self.fail_mark = self.fail_mark, None
        if error:
            raise error
        for seq in seqs:
            self._published.setdefault(seq, _Published(server, self._clock.now()))

    def settle(self, state: BusState) -> int:
        self.states.append(state)
        unsure = {seq: what for seq, what in self._published.items() if not what.is_kept}
        lost = [seq for seq, what in unsure.items() if state.flushed or what.server != state.server]
        for seq in lost:
            del self._published[seq]
        appended_by = self._clock.now() - timedelta(seconds=APPENDED_AFTER_S)
        for seq in unsure.keys() - set(lost):
            what = unsure[seq]
            what.saves_seen += state.saved
            what.is_kept = what.saves_seen >= SURE_SAVES or (state.appends and what.at <= appended_by)
        return len(lost)

    def waiting_count(self) -> int:
        return len(self.rows) - len(self._published)

    def _append(
        self, event_type: str, payload_json: str, event_id: str, trace_id: str, correlation_id: str
    ) -> None:
        self.rows.append(
            OutboxRow(
                seq=len(self.rows) + 1,
                event_id=event_id,
                event_type=event_type,
                payload_json=payload_json,
                created_at=iso(self._clock.now()),
                trace_id=trace_id,
                correlation_id=correlation_id,
            )
        )
