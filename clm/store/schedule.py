"""The schedule's last and next times, so that runs missed during downtime are caught up once."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from clm.clock import iso
from clm.ports import Clock
from clm.store.schema import has_table
from clm.store.tables import schedule
from clm.store.transactions import BUSY_LIMIT_S, Store


class SqliteScheduleState:
    """Stores two times per schedule, as aware UTC datetimes."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)

    def last_fired(self, name: str) -> datetime | None:
        """Return when it last fired, or None if never."""
        return self._read(name, "last_fired")

    def next_due(self, name: str) -> datetime | None:
        """Return when it is next due, or None if not recorded."""
        return self._read(name, "next_due")

    def save_last_fired(self, name: str, moment: datetime) -> None:
        """Record when it fired."""
        self._write(name, "last_fired", moment)

    def save_next_due(self, name: str, moment: datetime) -> None:
        """Record when it is next due."""
        self._write(name, "next_due", moment)

    def _read(self, name: str, column: str) -> datetime | None:
        with self._store.reading() as connection:
            if not has_table(connection, schedule.name):
                return None
            text = connection.execute(select(schedule.c[column]).where(schedule.c.name == name)).scalar()
        return datetime.fromisoformat(text) if text else None

    def _write(self, name: str, column: str, moment: datetime) -> None:
        row = insert(schedule).values({"name": name, column: iso(moment)})
        # Only the given column changes, so that the two times cannot overwrite each other.
        upsert = row.on_conflict_do_update(
            index_elements=[schedule.c.name], set_={column: row.excluded[column]}
        )
        with self._store.writing() as connection:
            connection.execute(upsert)
