"""Transactions on one store: short, retried while another process holds the lock, never after a failure."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from clm.errors import StoreBusy
from clm.ports import Clock
from clm.store.connection import BUSY_TIMEOUT_S, open_store
from clm.store.failures import error_name, translated

T = TypeVar("T")

BUSY_LIMIT_S = 60.0
"""Seconds an adapter waits for a lock before it raises StoreBusy."""
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


class Store:
    """One store file; each adapter has its own Store."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self.path = path
        self._clock = clock
        self._busy_limit_s = busy_limit_s

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a snapshot; the shared lock is held for the whole block.

        Raises:
            DataError: the store cannot be read.
            StoreBusy: STORE_BUSY, the lock was held for longer than the limit.
        """
        with translated(self.path):
            connection = self.patiently(self._begin_reading)
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock; it commits when the block ends without an exception.

        A failed statement or commit rolls the transaction back and closes the connection: after a failed
        fsync the same descriptor must not be used again.

        Raises:
            DataError: the store cannot be written, DISK_FULL and STORE_IO included.
            StoreBusy: STORE_BUSY, the lock was held for longer than the limit.
        """
        with translated(self.path):
            connection = self.patiently(self._begin_writing)
            try:
                yield connection
                self.patiently(lambda: self._commit(connection))
            finally:
                connection.close()

    def patiently(self, attempt: Callable[[], T]) -> T:
        """Return the result of `attempt`; while the store is locked, retry with growing pauses."""
        deadline = self._clock.monotonic() + self._busy_limit_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                with translated(self.path):
                    return attempt()
            # Only a held lock is retried. Every other error may mean that the disk or the file is bad.
            except StoreBusy as exc:
                left_s = deadline - self._clock.monotonic()
                if left_s <= 0:
                    raise StoreBusy(
                        "STORE_BUSY",
                        f"{self.path} stayed locked by another process for {self._busy_limit_s:g} s; "
                        "nothing was written, it will be tried again",
                    ) from exc
                self._clock.sleep(min(wait_s, left_s))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @cached_property
    def reader(self) -> Engine:
        """The read-only database."""
        return open_store(self.path, read_only=True, busy_timeout_s=self._busy_timeout_s)

    @cached_property
    def _writer(self) -> Engine:
        return open_store(self.path, read_only=False, busy_timeout_s=self._busy_timeout_s)

    @property
    def _busy_timeout_s(self) -> float:
        # SQLite's own wait must end before our limit, or `patiently` could not keep it.
        return min(BUSY_TIMEOUT_S, self._busy_limit_s)

    def _begin_reading(self) -> Connection:
        try:
            return _begun(self.reader)
        except (DBAPIError, sqlite3.Error) as exc:
            if error_name(exc) != "SQLITE_READONLY_ROLLBACK":
                raise
        # A writer crashed mid-transaction: only a connection with write access can roll its journal back.
        _begun(self._writer).close()
        return _begun(self.reader)

    def _begin_writing(self) -> Connection:
        return _begun(self._writer)

    @staticmethod
    def _commit(connection: Connection) -> None:
        # A COMMIT blocked by a reader's lock can be repeated; SQLAlchemy's own commit cannot.
        connection.exec_driver_sql("COMMIT")


def _begun(engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        connection.begin()
        # BEGIN alone takes no lock in a reader; this read takes it, so that later reads cannot fail.
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection
