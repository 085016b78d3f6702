"""The queue of requests for a cycle: each is stored durably before it is acknowledged."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Integer, cast, delete, func, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.domain.task import Delivery, Task, Trigger
from clm.errors import DataError
from clm.ports import Clock
from clm.store.recovery import recover
from clm.store.schema import has_table
from clm.store.tables import inbox, tasks
from clm.store.task_rows import (
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    add_or_join,
    as_task,
    put_back,
    set_status,
)
from clm.store.transactions import BUSY_LIMIT_S, Store

ACCEPTED, DEAD = "accepted", "dead"
_FORGOTTEN_AT_ONCE = 5_000
"""Inbox rows deleted in one transaction: the engine waits for the lock meanwhile."""
_CHUNK = 500
"""Values per IN list; SQLite has a limit, which is low in old versions."""


class SqliteTaskQueue:
    """Fulfils ports.TaskQueue."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)

    def submit(self, trigger: Trigger, now: datetime) -> int:
        """Insert a task, or return the pending one with the same dedupe key."""
        with self._store.writing() as connection:
            return add_or_join(connection, trigger, now)

    def accept(self, deliveries: Sequence[tuple[Delivery, Trigger]], now: datetime) -> list[int]:
        """Insert inbox rows and tasks of a batch in one transaction; known deliveries are ignored.

        Returns the task of each delivery, in order. A delivery recorded as dead has no task and is omitted.
        """
        if not deliveries:
            return []
        with self._store.writing() as connection:
            known = _known(connection, [delivery for delivery, _ in deliveries])
            fresh = {delivery: trigger for delivery, trigger in deliveries if delivery not in known}
            # Batches instead of single rows, so that a burst of triggers takes only seconds.
            for of_one_task in _by_key(fresh).values():
                first, *later = (fresh[delivery] for delivery in of_one_task)
                task_id = add_or_join(connection, first, now, count=len(of_one_task))
                if by_hand := [trigger for trigger in later if trigger.by_a_person]:
                    add_or_join(connection, by_hand[-1], now, count=0)
                _note(connection, of_one_task, now, state=ACCEPTED, task_id=task_id)
                known |= dict.fromkeys(of_one_task, task_id)
        accepted = [known[delivery] for delivery, _ in deliveries]
        return [task_id for task_id in accepted if task_id is not None]

    def bury(self, dead: Sequence[tuple[Delivery, str]], now: datetime) -> None:
        """Record deliveries that can never become a task as dead; known deliveries are unchanged."""
        with self._store.writing() as connection:
            # Stored before they are acknowledged, so that a bad entry is judged once and its reason survives.
            for delivery, reason in dead:
                _note(connection, [delivery], now, state=DEAD, reason=reason)

    def forget_deliveries(self, stream: str, *, before_ms: int | None, until: datetime, keep: int) -> int:
        """Delete old inbox rows of entries that Redis cannot deliver again, at most 5,000 at once."""
        ours = inbox.c.stream == stream
        spare = select(inbox.c.received_at).where(ours).order_by(inbox.c.received_at.desc())
        with self._store.reading() as connection:
            if not has_table(connection, inbox.name):
                return 0
            newest_spare = connection.execute(spare.offset(keep).limit(1)).scalar()
        if newest_spare is None:
            return 0
        old = [ours, inbox.c.received_at <= min(newest_spare, iso(until))]
        if before_ms is not None:
            # SQLite reads the number before the `-` of an id.
            old.append(cast(inbox.c.entry_id, Integer) < before_ms)
        rowid = literal_column("rowid", Integer)
        chosen = select(rowid).select_from(inbox).where(*old).limit(_FORGOTTEN_AT_ONCE)
        with self._store.reading() as connection:
            if not connection.execute(chosen.limit(1)).first():
                return 0
        with self._store.writing() as connection:
            gone = delete(inbox).where(rowid.in_(chosen))
            return connection.execute(gone).rowcount

    def claim(self, now: datetime, *, only_a_persons: bool = False) -> Task | None:
        """Claim the oldest pending task, or only a manual one: mark it running and add 1 to its attempts."""
        # Do not take the write lock of a shared store if there is no task.
        if not self.pending_count():
            return None
        if only_a_persons:
            with self._store.reading() as connection:
                if _oldest(connection, only_a_persons=True) is None:
                    return None
        with self._store.writing() as connection:
            task_id = _oldest(connection, only_a_persons=only_a_persons)
            # Look again under the write lock: another process may have claimed it in between.
            if task_id is None:
                return None
            set_status(connection, task_id, now, status=RUNNING, outcome="", started=True)
            return as_task(connection.execute(select(tasks).where(tasks.c.id == task_id)).one())

    def complete(self, task_id: int, now: datetime, outcome: str) -> None:
        """Close a running task.

        Raises:
            DataError: TASK_NOT_RUNNING.
        """
        with self._store.writing() as connection:
            self._demand_running(connection, task_id)
            set_status(connection, task_id, now, status=COMPLETED, outcome=outcome)

    def release(self, task_id: int, now: datetime, reason: str, *, counted: bool = True) -> None:
        """Requeue a running task; a newer pending task with the same key is coalesced into it.

        If not `counted`, the attempt does not count: a clean stop or a busy store is not the task's fault.

        Raises:
            DataError: TASK_NOT_RUNNING.
        """
        with self._store.writing() as connection:
            self._demand_running(connection, task_id)
            put_back(connection, task_id, now, reason)
            if not counted:
                # Undo the count of `claim`, which counted at the start so that a crash counts.
                given_back = update(tasks).where(tasks.c.id == task_id).values(attempts=tasks.c.attempts - 1)
                connection.execute(given_back)

    def fail(self, task_id: int, now: datetime, reason: str) -> None:
        """Close a running task that will not be retried.

        Raises:
            DataError: TASK_NOT_RUNNING.
        """
        with self._store.writing() as connection:
            self._demand_running(connection, task_id)
            set_status(connection, task_id, now, status=FAILED, outcome=reason)

    def recover(self, now: datetime) -> list[str]:
        """At start, requeue running tasks and close running runs; return the ids of interrupted runs."""
        with self._store.writing() as connection:
            return recover(connection, now)

    def pending_count(self) -> int:
        """Return the number of pending tasks; 0 if our tables do not exist."""
        with self._store.reading() as connection:
            if not has_table(connection, tasks.name):
                return 0
            pending = select(func.count()).select_from(tasks).where(tasks.c.status == PENDING)
            return int(connection.execute(pending).scalar_one())

    def _demand_running(self, connection: Connection, task_id: int) -> None:
        status = connection.execute(select(tasks.c.status).where(tasks.c.id == task_id)).scalar()
        if status != RUNNING:
            raise DataError(
                "TASK_NOT_RUNNING",
                f"task {task_id} in {self._store.path} is {status or 'unknown'}, not running; "
                "somebody else has closed it or put it back",
            )


def _oldest(connection: Connection, *, only_a_persons: bool) -> int | None:
    pending = select(tasks).where(tasks.c.status == PENDING).order_by(tasks.c.id)
    waiting = (as_task(row) for row in connection.execute(pending))
    return next((task.task_id for task in waiting if task.trigger.by_a_person or not only_a_persons), None)


def _known(connection: Connection, deliveries: Sequence[Delivery]) -> dict[Delivery, int | None]:
    """Return the deliveries that are already in the inbox, with their tasks."""
    ids: dict[str, list[str]] = {}
    for delivery in deliveries:
        ids.setdefault(delivery.stream, []).append(delivery.entry_id)
    found: dict[Delivery, int | None] = {}
    for stream, entry_ids in ids.items():
        for start in range(0, len(entry_ids), _CHUNK):
            chunk = entry_ids[start : start + _CHUNK]
            query = select(inbox).where(inbox.c.stream == stream, inbox.c.entry_id.in_(chunk))
            for row in connection.execute(query):
                delivery = Delivery(stream=stream, entry_id=row.entry_id, payload_sha256=row.payload_sha256)
                found[delivery] = row.task_id
    return {delivery: found[delivery] for delivery in deliveries if delivery in found}


def _by_key(fresh: Mapping[Delivery, Trigger]) -> dict[str, list[Delivery]]:
    """Return the deliveries by dedupe key, in order of arrival."""
    groups: dict[str, list[Delivery]] = {}
    for delivery, trigger in fresh.items():
        groups.setdefault(trigger.dedupe_key, []).append(delivery)
    return groups


def _note(
    connection: Connection,
    deliveries: Sequence[Delivery],
    now: datetime,
    *,
    state: str,
    task_id: int | None = None,
    reason: str = "",
) -> None:
    """Insert inbox rows; an existing row is kept."""
    connection.execute(
        insert(inbox).on_conflict_do_nothing(),
        [
            {
                "stream": delivery.stream,
                "entry_id": delivery.entry_id,
                "payload_sha256": delivery.payload_sha256,
                "state": state,
                "task_id": task_id,
                "reason": reason,
                "received_at": iso(now),
            }
            for delivery in deliveries
        ],
    )
