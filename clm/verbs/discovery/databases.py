"""A SQLite file: its tables and row counts; no row values, and never the secrets."""

from pathlib import Path

from sqlalchemy.engine import Connection

from clm.errors import ClmError
from clm.store.connection import open_store
from clm.store.failures import translated
from clm.store.tables import SAMPLES, SECRETS
from clm.verbs.discovery.assets import Asset, printable

COUNTED = 1_000_000
"""Maximum rows to count; above it, a table is reported as having more."""
_BUSY_S = 1.0


def database_asset(path: Path, size_bytes: int) -> Asset:
    """Return the tables of a database, and whether it could be the store."""
    try:
        tables = read_tables(path)
    except ClmError as error:
        return Asset(
            kind="database", path=printable(path), size_bytes=size_bytes, usable=False, because=error.message
        )
    rows = tables.get(SAMPLES)
    if rows:
        usable, why = True, f"it has {SAMPLES}; CLM_STORE names the store that is used"
    elif rows == 0:
        usable, why = False, f"its {SAMPLES} is empty"
    else:
        usable, why = False, f"it has no {SAMPLES}: logs and states, no features with outcomes"
    return Asset(
        kind="database",
        path=printable(path),
        size_bytes=size_bytes,
        usable=usable,
        because=why,
        details={"tables": {name: _count_text(count) for name, count in tables.items()}},
    )


def read_tables(path: Path) -> dict[str, int | None]:
    """Return the rows of each table, COUNTED + 1 for more; None for the secrets, which are not counted.

    Raises:
        DataError: it cannot be read.
        StoreBusy: somebody holds its lock.
    """
    with translated(path):
        engine = open_store(path, read_only=True, busy_timeout_s=_BUSY_S)
        with engine.connect() as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            names = [str(name) for (name,) in connection.exec_driver_sql(query)]
            return {name: _count(connection, name) for name in sorted(names)}


def _count(connection: Connection, table: str) -> int | None:
    if table.lower() == SECRETS:
        return None
    quoted = table.replace('"', '""')
    counted = f'SELECT count(*) FROM (SELECT 1 FROM "{quoted}" LIMIT {COUNTED + 1})'  # noqa: S608  # quoted
    return int(connection.exec_driver_sql(counted).scalar_one())


def _count_text(count: int | None) -> object:
    if count is None:
        return "not read: it holds secrets"
    return count if count <= COUNTED else f"more than {COUNTED:,}"
