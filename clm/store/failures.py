"""Translate SQLite's errors into ours, with messages for an operator.

DataError  STORE_MISSING STORE_EMPTY STORE_NOT_A_FILE STORE_CORRUPT STORE_READ_ONLY STORE_FORBIDDEN
           STORE_IO STORE_CONSTRAINT STORE_ERROR SCHEMA DISK_FULL
StoreBusy  STORE_BUSY
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from clm.errors import ClmError, DataError, StoreBusy

SMALLEST_PAGE_BYTES = 512
_NAME_IT = "was the path mistyped? set CLM_STORE or pass --store"


def check_file(path: Path) -> None:
    """Refuse a file that SQLite would treat as a new database, without creating or opening it.

    Opening the file here would be a bug: a process that closes any descriptor of a file loses all its
    locks on it, including those of SQLite in other threads. SQLite itself refuses a wrong header.

    Raises:
        DataError: STORE_MISSING, STORE_EMPTY, STORE_NOT_A_FILE, STORE_CORRUPT, STORE_READ_ONLY.
    """
    try:
        status = path.stat()
    except FileNotFoundError as exc:
        raise DataError("STORE_MISSING", f"{path} does not exist; {_NAME_IT}") from exc
    except OSError as exc:
        raise DataError("STORE_READ_ONLY", f"{path} cannot be reached: {exc.strerror}") from exc
    if not stat.S_ISREG(status.st_mode):
        what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise DataError("STORE_NOT_A_FILE", f"{path} is {what}, not a SQLite database; {_NAME_IT}")
    if status.st_size == 0:
        raise DataError("STORE_EMPTY", f"{path} is 0 bytes, not a SQLite database; {_NAME_IT}")
    if status.st_size < SMALLEST_PAGE_BYTES:
        raise DataError(
            "STORE_CORRUPT", f"{path} is {status.st_size} bytes, too short for a SQLite database; {_NAME_IT}"
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Convert the driver's exceptions in the block into ours, with the cause attached."""
    try:
        yield
    except DBAPIError as exc:
        if not isinstance(exc.orig, sqlite3.Error):
            raise
        raise translate(exc.orig, path) from exc
    except sqlite3.Error as exc:
        raise translate(exc, path) from exc


def error_name(error: DBAPIError | sqlite3.Error) -> str:
    """Return SQLite's name for the error, or "" if it has none."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "sqlite_errorname", "") or ""


def translate(error: sqlite3.Error, path: Path) -> ClmError:
    """Return our error for `error` in the store at `path`."""
    name = error_name(error)
    # Extended codes have more parts: SQLITE_IOERR_FSYNC belongs to SQLITE_IOERR.
    family = "_".join(name.split("_")[:2])
    if family in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return StoreBusy("STORE_BUSY", f"{path} is locked by another process; it will be tried again")
    if family == "SQLITE_CANTOPEN":
        return _cannot_open(path)
    if family == "SQLITE_IOERR":
        return _input_output(name, path)
    if family == "SQLITE_READONLY":
        return _read_only(name, path)
    if family == "SQLITE_ERROR" and str(error).startswith("no such"):
        return DataError("SCHEMA", f"{path}: {error}; has the schema changed, or was it never migrated?")
    code, text = _PLAIN.get(family, ("STORE_ERROR", "failed"))
    return DataError(code, f"{path} {text} ({name or type(error).__name__}: {error}){_space(code, path)}")


_PLAIN = {
    "SQLITE_CORRUPT": ("STORE_CORRUPT", "is damaged; restore the newest backup, nothing is repaired here"),
    "SQLITE_NOTADB": ("STORE_CORRUPT", f"is not a SQLite database; {_NAME_IT}"),
    "SQLITE_FULL": ("DISK_FULL", "could not grow, the transaction is undone; free space"),
    "SQLITE_AUTH": ("STORE_FORBIDDEN", "has tables that are closed to us on purpose"),
    "SQLITE_CONSTRAINT": ("STORE_CONSTRAINT", "refused a row"),
}


def _cannot_open(path: Path) -> ClmError:
    try:
        check_file(path)
    except DataError as exc:
        return exc
    return DataError("STORE_READ_ONLY", f"{path} cannot be opened: {_SIDE_FILES}")


def _read_only(name: str, path: Path) -> ClmError:
    if name == "SQLITE_READONLY_ROLLBACK":
        why = "a crashed writer left a journal that a process with write access has to roll back first"
    elif name in ("SQLITE_READONLY_DIRECTORY", "SQLITE_READONLY_CANTINIT", "SQLITE_READONLY_RECOVERY"):
        why = _SIDE_FILES
    else:
        why = "this process may only read it; check owner and mode of the file"
    return DataError("STORE_READ_ONLY", f"{path}: {why} ({name})")


_SIDE_FILES = (
    "SQLite needs write access to the directory, or to the -shm file in it; check owner and mode of both"
)


def _input_output(name: str, path: Path) -> ClmError:
    # A full disk can also appear as an I/O error.
    if _free_bytes(path) == 0:
        return DataError("DISK_FULL", f"{path} could not be written ({name}){_space('DISK_FULL', path)}")
    return DataError(
        "STORE_IO", f"{path}: the disk failed ({name}); the transaction is undone, look at the kernel log"
    )


def _space(code: str, path: Path) -> str:
    if code != "DISK_FULL":
        return ""
    return f"; {_free_bytes(path) / 1e6:.1f} MB are free in {path.parent}"


def _free_bytes(path: Path) -> int:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return -1
    return disk.f_bavail * disk.f_frsize
