"""Rows of the queue and their mirror in training_tasks, in the caller's transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.domain.task import Task, Trigger
from clm.store.json_text import from_text, to_text
from clm.store.neighbours import mirror_change, mirror_new, neighbour_text, training_tasks
from clm.store.tables import inbox, tasks

PENDING, RUNNING, COMPLETED, FAILED, COALESCED = "pending", "running", "completed", "failed", "coalesced"


def add_or_join(connection: Connection, trigger: Trigger, now: datetime, *, count: int = 1) -> int:
    """Return the pending task for the trigger's dedupe key; create it if it does not exist.

    The task's count of triggers grows by `count`. The first trigger's reason and source are kept, but a
    manual trigger replaces them. A running task is not joined: its run may not see the newest rows.
    """
    if (waiting := _pending(connection, trigger.dedupe_key)) is not None:
        _join(connection, waiting, trigger, now, count)
        return waiting
    details = {str(key): str(value) for key, value in trigger.details.items()}
    result = connection.execute(
        insert(tasks)
        .values(
            dedupe_key=trigger.dedupe_key,
            model=trigger.model,
            reason=trigger.reason,
            requested_by=trigger.requested_by,
            source=trigger.source,
            details=to_text(details),
            status=PENDING,
            attempts=0,
            triggers=count,
            outcome="",
            created_at=iso(now),
            updated_at=iso(now),
            neighbour_id=mirror_new(connection, training_tasks, _mirrored(trigger, details, now)),
        )
        .returning(tasks.c.id)
    )
    return int(result.scalar_one())


def _join(connection: Connection, task_id: int, trigger: Trigger, now: datetime, count: int) -> None:
    task = update(tasks).where(tasks.c.id == task_id)
    connection.execute(task.values(triggers=tasks.c.triggers + count, updated_at=iso(now)))
    if trigger.by_a_person:
        asked = {name: getattr(trigger, name) for name in ("reason", "requested_by", "source")}
        connection.execute(task.values(asked))


def set_status(
    connection: Connection, task_id: int, now: datetime, *, status: str, outcome: str, started: bool = False
) -> None:
    """Set the status of a task and its mirror; a final status also sets the end time."""
    ended = status not in (PENDING, RUNNING)
    result = connection.execute(
        update(tasks)
        .where(tasks.c.id == task_id)
        .values(
            status=status,
            outcome=outcome,
            attempts=tasks.c.attempts + int(started),
            updated_at=iso(now),
            completed_at=iso(now) if ended else None,
        )
        .returning(tasks.c.neighbour_id)
    )
    mirror_change(
        connection,
        training_tasks,
        result.scalar_one(),
        {
            # The neighbours see a coalesced task as completed.
            "status": COMPLETED if status == COALESCED else status,
            "completed_at": neighbour_text(now) if ended else None,
        },
    )


def put_back(connection: Connection, task_id: int, now: datetime, reason: str) -> None:
    """Make a running task pending again and coalesce a newer pending task with the same key into it.

    The older task is kept, because its count of attempts must not be lost.
    """
    key = connection.execute(select(tasks.c.dedupe_key).where(tasks.c.id == task_id)).scalar_one()
    if (newer := _pending(connection, key)) is not None:
        set_status(connection, newer, now, status=COALESCED, outcome=f"coalesced into task {task_id}")
        merged = select(tasks.c.triggers).where(tasks.c.id == newer).scalar_subquery()
        connection.execute(
            update(tasks).where(tasks.c.id == task_id).values(triggers=tasks.c.triggers + merged)
        )
        connection.execute(update(inbox).where(inbox.c.task_id == newer).values(task_id=task_id))
    set_status(connection, task_id, now, status=PENDING, outcome=reason)


def as_task(row: Row[Any]) -> Task:
    """Return a row of clm_tasks as a Task."""
    return Task(
        task_id=row.id,
        trigger=Trigger(
            model=row.model,
            reason=row.reason,
            requested_by=row.requested_by,
            source=row.source,
            details={key: str(value) for key, value in from_text(row.details).items()},
        ),
        attempts=row.attempts,
        created_at=datetime.fromisoformat(row.created_at),
    )


def _pending(connection: Connection, dedupe_key: str) -> int | None:
    query = select(tasks.c.id).where(tasks.c.dedupe_key == dedupe_key, tasks.c.status == PENDING)
    return connection.execute(query).scalar()


def _mirrored(trigger: Trigger, details: dict[str, str], now: datetime) -> dict[str, object]:
    limit = details.get("limit", "")
    return {
        "symbols": details.get("symbols", "ALL"),
        "limit": int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 10 else 0,
        "status": PENDING,
        "created_at": neighbour_text(now),
        "details": to_text(
            {
                "model": trigger.model,
                "reason": trigger.reason,
                "requested_by": trigger.requested_by,
                "source": trigger.source,
                **{f"details.{key}": value for key, value in details.items()},
            }
        ),
    }
