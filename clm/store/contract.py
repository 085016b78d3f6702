"""The schema a store must have. Missing optional parts are reported, not refused."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from clm.clock import SystemClock
from clm.errors import DataError
from clm.store.neighbours import neighbour_notes
from clm.store.schema import schema_version, table_names
from clm.store.tables import SAMPLES, samples
from clm.store.transactions import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """The facts found in a store that fulfils the contract."""

    path: Path
    journal_mode: str
    tables: tuple[str, ...]
    schema_version: str | None
    """Revision of our tables; None if they do not exist."""
    notes: tuple[str, ...]
    """One sentence for each optional part that is missing."""


def check_contract(path: Path) -> StoreFacts:
    """Return the facts of a store that has what a cycle reads; additional columns are allowed.

    Raises:
        DataError: STORE_MISSING, STORE_EMPTY, STORE_NOT_A_FILE, STORE_CORRUPT, STORE_READ_ONLY, and
            SCHEMA naming the table or the columns that are missing.
        StoreBusy: STORE_BUSY.
    """
    with Store(path, SystemClock()).reading() as connection:
        check_samples(path, connection)
        return StoreFacts(
            path=path,
            journal_mode=str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()).lower(),
            tables=table_names(connection),
            schema_version=schema_version(connection),
            notes=neighbour_notes(connection),
        )


def check_samples(path: Path, connection: Connection) -> None:
    """Refuse a store whose sample table lacks a column that a cycle reads.

    Raises:
        DataError: SCHEMA.
    """
    query = text("SELECT name FROM pragma_table_info(:name)")
    there = {str(name) for (name,) in connection.execute(query, {"name": SAMPLES})}
    if not there:
        raise DataError("SCHEMA", f"{path} has no table {SAMPLES}; is it the right store?")
    if missing := [name for name in samples.c.keys() if name not in there]:  # noqa: SIM118  # not a dict
        raise DataError(
            "SCHEMA", f"{SAMPLES} lacks {', '.join(missing)} in {path}; the engine's schema changed"
        )
