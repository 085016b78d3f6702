"""How the shared file is opened: by URI, never created, its journal mode untouched."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from clm.store.failures import check_file
from clm.store.tables import SECRETS

BUSY_TIMEOUT_S = 5.0
"""How long SQLite itself waits for a lock; the trading engine waits 10 s."""


def open_store(path: Path, *, read_only: bool, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return an engine on an existing store; each connection is a new one and is closed after use.

    Writers begin with BEGIN IMMEDIATE: a deferred transaction that turns into a writer fails at once
    where another wrote meanwhile, whatever the timeout. Connections refuse the table of secrets.

    Raises:
        DataError: STORE_MISSING, STORE_EMPTY, STORE_NOT_A_FILE, STORE_CORRUPT, STORE_READ_ONLY.
    """
    check_file(path)
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        # On each connection: SQLite takes a file that was emptied meanwhile for a new database.
        check_file(path)
        # isolation_level=None: the module begins nothing by itself.
        return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _prepare(driver_connection: Any, _record: object) -> None:
        driver_connection.set_authorizer(_authorize)
        if not read_only:
            driver_connection.execute(f"PRAGMA synchronous={_durable_synchronous(driver_connection)}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _durable_synchronous(driver_connection: sqlite3.Connection) -> str:
    """Return the level at which a row outlives a power loss right after COMMIT."""
    (mode,) = driver_connection.execute("PRAGMA journal_mode").fetchone()
    # With a rollback journal FULL does not sync the directory after the journal is deleted: the
    # journal can come back and undo the commit. WAL has no such file, FULL is enough.
    return "FULL" if mode == "wal" else "EXTRA"


def _authorize(
    action: int, arg1: str | None, arg2: str | None, schema: str | None, source: str | None
) -> int:
    if SECRETS in ((arg1 or "").lower(), (arg2 or "").lower()):
        return sqlite3.SQLITE_DENY
    # ATTACH of a file is how VACUUM INTO copies a whole store, secrets included.
    if action == sqlite3.SQLITE_ATTACH and arg1 != ":memory:":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
