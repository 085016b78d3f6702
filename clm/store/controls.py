"""Controls: what an operator has suspended. The daemon sees a change the next time it reads them."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.ports import Clock, Control, Controls, ControlSet
from clm.store.schema import has_table
from clm.store.tables import controls
from clm.store.transactions import BUSY_LIMIT_S, Store


def read_controls(connection: Connection) -> Controls:
    """Return the controls in force; none if our table does not exist."""
    if not has_table(connection, controls.name):
        return {}
    return {
        Control(row.name): ControlSet(value=row.value, reason=row.reason, since=row.since)
        for row in connection.execute(select(controls))
    }


def set_control(connection: Connection, control: Control, *, value: str, reason: str, now: datetime) -> None:
    """Put a control in force in the caller's transaction; an existing one gets the new reason."""
    words = {"value": value, "reason": reason, "since": iso(now)}
    row = insert(controls).values(name=control.value, **words)
    connection.execute(row.on_conflict_do_update(index_elements=[controls.c.name], set_=words))


class SqliteControls:
    """Sets and lifts controls for the command line."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)
        self._clock = clock

    def read(self) -> Controls:
        """Return the controls in force."""
        with self._store.reading() as connection:
            return read_controls(connection)

    def set(self, control: Control, *, reason: str, value: str = "") -> None:
        """Put a control in force."""
        with self._store.writing() as connection:
            set_control(connection, control, value=value, reason=reason, now=self._clock.now())

    def clear(self, *which: Control) -> Controls:
        """Lift controls and return those that were in force."""
        names = [control.value for control in which]
        with self._store.writing() as connection:
            # Read and delete in one transaction, so that the reply names exactly what was lifted.
            before = read_controls(connection)
            connection.execute(delete(controls).where(controls.c.name.in_(names)))
        return {control: before[control] for control in which if control in before}
