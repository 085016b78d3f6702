"""Files that another user may have put in our way: never followed, never waited for, never too big."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from clm.errors import PromotionError

_CHUNK = 1 << 20


def read_small(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        PromotionError: SWITCH_REFUSED for a link, a pipe, a directory, a file that is missing or too big.
    """
    with _opened(path) as handle:
        data = os.read(handle, max_bytes + 1)
    if len(data) > max_bytes:
        raise PromotionError("SWITCH_REFUSED", f"{path} has more than {max_bytes} bytes; nothing was done")
    return data


def hash_regular(path: Path) -> tuple[str, int]:
    """Return sha256 and size of a regular file.

    Raises:
        PromotionError: SWITCH_REFUSED as `read_small`.
    """
    digest, size = hashlib.sha256(), 0
    with _opened(path) as handle:
        while chunk := os.read(handle, _CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags)
    except OSError as exc:
        raise PromotionError(
            "SWITCH_REFUSED", f"{path} cannot be opened, or is a link: {exc.strerror}; nothing was done"
        ) from exc
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise PromotionError("SWITCH_REFUSED", f"{path} is no regular file; nothing was done")
        yield handle
    finally:
        os.close(handle)
