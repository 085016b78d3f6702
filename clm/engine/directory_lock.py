"""A lock on a directory: it leaves no file, and the kernel releases it when its holder exits."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from clm.clock import SystemClock
from clm.errors import PromotionBusy, PromotionError

_POLL_S = 0.05


@contextlib.contextmanager
def directory_lock(
    directory: Path, *, missing: str, busy: str, wait_s: float = 0.0, clock: SystemClock | None = None
) -> Iterator[None]:
    """Hold the lock of `directory` while the block runs; `flock DIRECTORY COMMAND` takes the same lock.

    Raises:
        PromotionError: code `missing`: the directory cannot be opened.
        PromotionBusy: code `busy`: another process held the lock for longer than `wait_s`.
    """
    try:
        # A lock on the directory itself: a lock file could be removed while somebody holds it, and a second
        # process would then lock a new file of the same name.
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise PromotionError(
            missing, f"{directory} cannot be opened: {exc.strerror}; check the path"
        ) from exc
    try:
        _wait(handle, directory, busy, wait_s, clock or SystemClock())
        yield
    finally:
        os.close(handle)


def _wait(handle: int, directory: Path, busy: str, wait_s: float, clock: SystemClock) -> None:
    deadline = clock.monotonic() + wait_s
    while True:
        try:
            # Poll instead of blocking: flock(2) has no time-out, and a signal handler must be able to run.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if clock.monotonic() >= deadline:
                raise PromotionBusy(
                    busy, f"another program is at work in {directory}; `lslocks` names it, wait until it ends"
                ) from exc
            clock.sleep(_POLL_S)
        else:
            return
