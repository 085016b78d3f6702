"""The outbox: events are stored with the state they describe and published once the bus is reachable."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy import and_, delete, func, insert, or_, select, true, update
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.events import Event
from clm.ports import BusState, Clock, OutboxRow
from clm.store.json_text import to_text
from clm.store.schema import has_table
from clm.store.tables import outbox
from clm.store.transactions import BUSY_LIMIT_S, Store

SURE_SAVES = 2
"""Completed saves that prove an event is on disk: the first may have started before our XADD."""
APPENDED_AFTER_S = 2.0
"""Seconds until an event is in the append-only file, which is synced every second by default."""
_CHUNK = 500
"""Numbers per IN list; SQLite has a limit, which is low in old versions."""


def insert_events(
    connection: Connection, events: Sequence[Event], *, trace_id: str, correlation_id: str, now: datetime
) -> None:
    """Insert the events in the caller's transaction; each gets a unique id and the next seq."""
    if not events:
        return
    connection.execute(
        insert(outbox),
        [
            {
                # Drawn when stored, not when published: a repeated publication has the same id, and readers
                # can drop it.
                "event_id": uuid.uuid4().hex,
                "event_type": event.event_type,
                "payload": to_text(event.payload()),
                "trace_id": trace_id,
                "correlation_id": correlation_id,
                "created_at": iso(now),
            }
            for event in events
        ],
    )


class SqliteOutbox:
    """Fulfils ports.Outbox."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)
        self._clock = clock

    def append(self, events: Sequence[Event], trace_id: str) -> None:
        """Insert events that are not tied to state in the store."""
        with self._store.writing() as connection:
            insert_events(
                connection, events, trace_id=trace_id, correlation_id=trace_id, now=self._clock.now()
            )

    def unpublished(self, limit: int) -> list[OutboxRow]:
        """Return the oldest unpublished events by seq; none if our tables do not exist."""
        waiting = select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.seq).limit(limit)
        with self._store.reading() as connection:
            if not has_table(connection, outbox.name):
                return []
            rows = connection.execute(waiting).all()
        return [
            OutboxRow(
                seq=row.seq,
                event_id=row.event_id,
                event_type=row.event_type,
                payload_json=row.payload,
                created_at=row.created_at,
                trace_id=row.trace_id,
                correlation_id=row.correlation_id,
            )
            for row in rows
        ]

    def mark_published(self, seqs: Sequence[int], server: str) -> None:
        """Record that these events reached this server instance; an earlier record is kept."""
        if not seqs:
            return
        rest = iter(seqs)
        with self._store.writing() as connection:
            while chunk := list(islice(rest, _CHUNK)):
                connection.execute(
                    update(outbox)
                    .where(outbox.c.seq.in_(chunk), outbox.c.published_at.is_(None))
                    .values(published_at=iso(self._clock.now()), server=server, saves_seen=0)
                )

    def forget(self, before: datetime, *, keep: int) -> int:
        """Delete events published before `before`, except the newest `keep`, and return their number."""
        with self._store.writing() as connection:
            newest = connection.execute(select(func.max(outbox.c.seq))).scalar() or 0
            old = outbox.c.published_at < iso(before)  # NULL if unpublished, so never matched
            return connection.execute(delete(outbox).where(old, outbox.c.seq <= newest - keep)).rowcount

    def settle(self, state: BusState) -> int:
        """Mark events that the server has persisted; requeue those it may have lost and return their number.

        A requeued event is published again with the same event_id. The write lock is taken only if
        something changes.
        """
        unsure = and_(outbox.c.published_at.is_not(None), outbox.c.is_kept == 0)
        lost = and_(unsure, true() if state.flushed else outbox.c.server != state.server)
        here = and_(unsure, outbox.c.server == state.server)
        with self._store.reading() as connection:
            if not has_table(connection, outbox.name):
                return 0
            noted = here if state.saved or state.appends else lost
            if not connection.execute(select(outbox.c.seq).where(or_(lost, noted)).limit(1)).first():
                return 0
        with self._store.writing() as connection:
            put_back = update(outbox).where(lost).values(published_at=None, server="", saves_seen=0)
            # A server with another identity, or one that was flushed, has lost what it had not saved.
            again = connection.execute(put_back).rowcount
            if state.saved:
                connection.execute(update(outbox).where(here).values(saves_seen=outbox.c.saves_seen + 1))
                connection.execute(
                    update(outbox).where(here, outbox.c.saves_seen >= SURE_SAVES).values(is_kept=1)
                )
            # Redis, appendfsync everysec: the file is synced once a second, so older entries are on disk.
            if state.appends:
                appended_by = iso(self._clock.now() - timedelta(seconds=APPENDED_AFTER_S))
                connection.execute(
                    update(outbox).where(here, outbox.c.published_at <= appended_by).values(is_kept=1)
                )
        return again

    def waiting_count(self) -> int:
        """Return the number of unpublished events."""
        with self._store.reading() as connection:
            if not has_table(connection, outbox.name):
                return 0
            waiting = select(func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
            return int(connection.execute(waiting).scalar_one())
