"""Open the shared store by URI: never create the file, never change its journal mode."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from clm.store.failures import check_file
from clm.store.tables import SECRETS

BUSY_TIMEOUT_S = 5.0
"""SQLite's own lock timeout in seconds; the trading engine uses 10 s."""


def open_store(path: Path, *, read_only: bool, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return the database of an existing store; each use opens a new connection and closes it afterwards.

    Writers start with BEGIN IMMEDIATE: upgrading a deferred transaction fails at once, whatever the
    timeout, if another writer committed in between. Connections deny access to the table of secrets.

    Raises:
        DataError: STORE_MISSING, STORE_EMPTY, STORE_NOT_A_FILE, STORE_CORRUPT, STORE_READ_ONLY.
    """
    check_file(path)
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"

    def connect() -> sqlite3.Connection:
        # Checked for each connection: SQLite treats a file truncated to zero bytes as a new database.
        check_file(path)
        # isolation_level=None: sqlite3 starts no transactions on its own.
        return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)

    # NullPool: a pooled connection would hold a descriptor of a file that a restore may replace.
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
    """Return the lowest level at which a committed row survives a power loss."""
    (mode,) = driver_connection.execute("PRAGMA journal_mode").fetchone()
    # With a rollback journal, FULL does not sync the directory after the journal is deleted: the
    # journal can reappear and undo the commit. WAL has no such file, so FULL is enough.
    return "FULL" if mode == "wal" else "EXTRA"


def _authorize(
    action: int, arg1: str | None, arg2: str | None, schema: str | None, source: str | None
) -> int:
    if SECRETS in ((arg1 or "").lower(), (arg2 or "").lower()):
        return sqlite3.SQLITE_DENY
    # VACUUM INTO uses ATTACH to copy a whole store, secrets included.
    if action == sqlite3.SQLITE_ATTACH and arg1 != ":memory:":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
