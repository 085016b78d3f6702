"""Safe access to files that other users control: no link is followed, and every read is bounded."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from clm.errors import PromotionError
from clm.switch.trust import is_protected

_CHUNK = 1 << 20
_MAX_LINKS = 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = tuple[int, int, int, int]
"""Device, inode, size and ctime: they differ after a write, a rename or a replacement."""


@contextlib.contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Yield a descriptor of a directory, following only links that root alone can change.

    Raises:
        PromotionError: SWITCH_REFUSED.
    """
    here, rest, links = os.open("/", _DIRECTORY), [*path.parts[1:]], 0
    try:
        while rest:
            target = _link_of_root(here, rest[0], path)
            if target is None:
                below = _open_below(here, rest.pop(0), path)
                os.close(here)
                here = below
                continue
            links += 1
            if links > _MAX_LINKS:
                raise _refused(path, f"leads through more than {_MAX_LINKS} links")
            if target.is_absolute():
                os.close(here)
                here = os.open("/", _DIRECTORY)
            rest = [*target.parts[target.is_absolute() :], *rest[1:]]
        yield here
    finally:
        os.close(here)


@contextlib.contextmanager
def opened_file(directory: int, name: str, *, max_bytes: int, where: Path) -> Iterator[int]:
    """Yield a descriptor of a regular file of bounded size; `where` names its directory in messages.

    Raises:
        PromotionError: SWITCH_REFUSED for a link, a pipe, a directory, a missing file or one that is too big.
    """
    path = where / name
    try:
        handle = os.open(name, _FILE, dir_fd=directory)
    except OSError as exc:
        raise _refused(path, f"cannot be opened without following a link ({exc.strerror})") from exc
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "is not a regular file")
        if status.st_nlink != 1:
            raise _refused(path, f"has {status.st_nlink} names")
        if status.st_size > max_bytes:
            raise _refused(path, f"has {status.st_size} bytes, more than {max_bytes}")
        yield handle
    finally:
        os.close(handle)


def mount_of(directory: int) -> str:
    """Return the mount id of an open directory."""
    lines = Path(f"/proc/self/fdinfo/{directory}").read_text(encoding="ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))


def may_read(status: os.stat_result, uid: int) -> bool:
    """Return whether a user could read a file without the helper, judging by owner and mode."""
    return uid in {0, status.st_uid} or bool(status.st_mode & stat.S_IROTH)


def copied_sha256(source: int, target: int | None = None) -> str:
    """Return the sha256 of an open file, and write the hashed bytes to `target` in the same pass.

    Raises:
        PromotionError: SWITCH_REFUSED if the file grows during the read.
    """
    digest, left = hashlib.sha256(), os.fstat(source).st_size
    while chunk := os.read(source, _CHUNK):
        left -= len(chunk)
        if left < 0:
            raise PromotionError("SWITCH_REFUSED", "the file grew while it was read; nothing was done")
        digest.update(chunk)
        while target is not None and chunk:
            chunk = chunk[os.write(target, chunk) :]
    return digest.hexdigest()


def identity(handle: int) -> Identity:
    """Return the identity of an open file; it changes when the file is replaced, moved or written."""
    status = os.fstat(handle)
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def exists(directory: int, name: str) -> bool:
    """Return whether the directory has an entry of this name, including a dangling link."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _link_of_root(here: int, name: str, path: Path) -> Path | None:
    """Return a link's target, or None if `name` is not a link."""
    try:
        status = os.stat(name, dir_fd=here, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if not is_protected(os.fstat(here)) or status.st_uid not in {0, os.geteuid()}:
            raise _refused(path, f"leads through the link {name}, which other users than root can change")
        return Path(os.readlink(name, dir_fd=here))
    except OSError as exc:
        raise _refused(path, f"cannot be reached at {name} ({exc.strerror})") from exc


def _open_below(here: int, name: str, path: Path) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=here)
    except OSError as exc:
        raise _refused(path, f"cannot be reached at {name} ({exc.strerror})") from exc


def _refused(path: Path, why: str) -> PromotionError:
    return PromotionError("SWITCH_REFUSED", f"{path} {why}; nothing was done")
