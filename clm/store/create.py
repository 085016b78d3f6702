"""Create a new store for development, demonstrations and tests."""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from clm.clock import SystemClock
from clm.errors import DataError
from clm.store.existing import SAMPLE_COLUMNS, ddl
from clm.store.failures import translated
from clm.store.tables import SAMPLES
from clm.store.transactions import Store


def create_store(path: Path) -> None:
    """Create an empty store with the existing schema, durably and atomically.

    Raises:
        DataError: STORE_EXISTS; STORE_NO_DIRECTORY; DISK_FULL, STORE_IO, STORE_READ_ONLY.
    """
    if path.exists() or path.is_symlink():
        raise DataError("STORE_EXISTS", f"{path} exists; it is not touched, choose another path")
    if not path.parent.is_dir():
        raise DataError("STORE_NO_DIRECTORY", f"{path.parent} is not a directory; make it first")
    unfinished = path.with_name(f".{path.name}.clm-{os.getpid()}.tmp")
    try:
        # Exclusive, and never through an existing link. SQLite treats 0 bytes as a new database.
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640))
    except OSError as exc:
        raise DataError("STORE_READ_ONLY", f"{path} cannot be made: {exc.strerror}") from exc
    try:
        with translated(path), closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
            # EXTRA also syncs the directory after the journal is deleted (SQLite, PRAGMA synchronous).
            connection.execute("PRAGMA synchronous=EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            for statement in ddl():
                connection.execute(statement)
            connection.execute("COMMIT")
        _give_name(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def insert_samples(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Insert samples in one transaction and return their number; a row may name any of the 24 columns.

    Raises:
        DataError: the store cannot be written, or a row has an unknown column or lacks a required one.
        StoreBusy: STORE_BUSY.
    """
    inserted = 0
    with Store(path, SystemClock()).writing() as connection:
        for row in rows:
            if unknown := row.keys() - SAMPLE_COLUMNS.keys():
                raise DataError("SCHEMA", f"{SAMPLES} has no column {', '.join(sorted(unknown))}")
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            connection.exec_driver_sql(
                f"INSERT INTO {SAMPLES} ({names}) VALUES ({marks})",  # noqa: S608  # column names from our own list
                tuple(row.values()),
            )
            inserted += 1
    return inserted


def _give_name(unfinished: Path, path: Path) -> None:
    # A link, not a rename: a file created in the meantime is not overwritten.
    try:
        os.link(unfinished, path)
    except FileExistsError as exc:
        raise DataError("STORE_EXISTS", f"{path} was made by somebody else meanwhile; not touched") from exc
    except OSError as exc:
        raise DataError("STORE_IO", f"{path} could not be made: {exc.strerror}") from exc
    # fsync(2): the file's own sync does not make its name in the directory durable.
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
