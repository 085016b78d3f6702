"""The single-instance lock on the state directory; the kernel releases it when the process exits."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clm.clock import SystemClock, iso
from clm.errors import AlreadyRunning, ConfigError


@contextmanager
def single_instance(path: Path, role: str) -> Iterator[None]:
    """Hold the lock during the block.

    Raises:
        AlreadyRunning: ALREADY_RUNNING, with pid and start time of the other instance.
        ConfigError: STATE_DIR, the directory cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Mode a+ creates the file and does not truncate it: the content names the current holder.
        handle = path.open("a+", encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            "STATE_DIR", f"{path.parent} cannot be used as state directory: {exc.strerror}; set CLM_STATE_DIR"
        ) from exc
    with handle:
        if not _taken(handle):
            raise AlreadyRunning(
                "ALREADY_RUNNING",
                f"{path} is held by {_holder(path)}; wait for it, or queue a retrain with `clm trigger`",
            )
        # Write the holder only once the lock is taken. The file is never removed: another process could hold
        # a lock on the removed inode.
        handle.seek(0)
        handle.truncate()
        handle.write(f"pid {os.getpid()} since {iso(SystemClock().now())}, {role}\n")
        handle.flush()
        yield


def _taken(handle: IO[str]) -> bool:
    """Retry for half a second: `clm status` holds the lock briefly to check it."""
    clock = SystemClock()
    for _ in range(10):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            clock.sleep(0.05)
        else:
            return True
    return False


def holder(path: Path) -> str | None:
    """Return `pid N since T` of the instance that holds the lock, or None if it is free."""
    try:
        with path.open("r", encoding="utf-8") as handle:
            try:
                # A shared lock, so that two status commands do not report each other; it ends with the file
                # (flock(2)).
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(path)
    except OSError:
        return None
    return None


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() or "another instance"
