"""Durable files: after a crash or a power loss a file holds the old bytes or the new ones, never a mix."""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clm.errors import ArtefactError

_CHUNK = 1 << 20
_COUNTER = itertools.count()

_REASONS = {
    errno.ENOSPC: ("DISK_FULL", "the disk has no space or no inode left; free some and try again"),
    errno.EDQUOT: ("DISK_FULL", "the quota is used up; free some and try again"),
    errno.EFBIG: ("DISK_FULL", "the file size limit is reached; raise it or free space"),
    errno.EROFS: ("READ_ONLY_FS", "the file system is read-only; remount it writable"),
    errno.EACCES: ("PERMISSION", "this user may not; check owner and mode of the file and its directory"),
    errno.EPERM: ("PERMISSION", "this user may not; check owner and mode of the file and its directory"),
    errno.ENOENT: ("FILE_MISSING", "it does not exist; check the path"),
    errno.EEXIST: ("FILE_TAKEN", "the name is taken; nothing was overwritten"),
    errno.EIO: ("IO_ERROR", "the device reports an error; look at the kernel log"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """User and group of a file; None leaves that one unchanged."""

    uid: int | None = None
    gid: int | None = None


def replace_durably(
    path: Path,
    data: bytes,
    *,
    mode: int | None = None,
    owner: Owner | None = None,
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Replace `path` with `data` in one rename; the data is on disk when this returns.

    If `mode` or `owner` is None, an existing file keeps its own. It always keeps its extended attributes
    and ACL. A new file gets mode 0640. If `before_rename` raises, nothing has changed.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR; `path` holds the old or the new data.
    """
    with translated(f"cannot write {path}"):
        before = path.stat(follow_symlinks=False) if path.exists() else None
        if mode is None:
            mode = before.st_mode & 0o7777 if before else 0o640
        if owner is None:
            owner = Owner(uid=before.st_uid, gid=before.st_gid) if before else Owner()
        with _temporary(path) as (temporary, handle):
            _write_all(handle, data)
            _dress(handle, mode, owner)
            if before is not None:
                _copy_attributes(path, handle)
            os.fsync(handle)
            _compare(temporary, data)
            if before_rename is not None:
                before_rename()
            temporary.rename(path)
            sync_directory(path.parent)


def create_durably(path: Path, source: Path | bytes, *, mode: int, owner: Owner | None = None) -> str:
    """Create `path` durably from bytes or another file and return its sha256.

    Never overwrites: the name is created by a hard link, which fails if it already exists.

    Raises:
        ArtefactError: FILE_TAKEN, or as `replace_durably`; no partial file is left at `path`.
    """
    with translated(f"cannot create {path}"), _temporary(path) as (temporary, handle):
        if isinstance(source, bytes):
            _write_all(handle, source)
            wanted = hashlib.sha256(source).hexdigest()
        else:
            wanted = _copy(source, handle)
        _dress(handle, mode, owner or Owner())
        os.fsync(handle)
        written = sha256_of(temporary)
        if written != wanted:
            raise ArtefactError("IO_ERROR", f"{path}: what was read back is not what was written")
        path.hardlink_to(temporary)
        temporary.unlink()
        sync_directory(path.parent)
        return written


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes as hex.

    Raises:
        ArtefactError: FILE_MISSING, PERMISSION, IO_ERROR.
    """
    with translated(f"cannot read {path}"), path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remove_durably(path: Path) -> bool:
    """Remove a file durably and return whether it existed."""
    with translated(f"cannot remove {path}"):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        sync_directory(path.parent)
        return True


def remove_directory(directory: Path) -> None:
    """Remove a directory tree: one rename hides it, and a later sweep removes what a kill leaves."""
    with translated(f"cannot remove {directory}"):
        hidden = temporary_name(directory)
        directory.rename(hidden)
        sync_directory(directory.parent)
        shutil.rmtree(hidden)


def sync_directory(directory: Path) -> None:
    """Sync a directory, so that created, renamed and removed names survive a power loss."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_temporaries(directory: Path) -> tuple[str, ...]:
    """Remove the temporary files that killed writers left in `directory`, and return their names.

    The caller holds the lock that keeps other writers out of `directory`.
    """
    removed = []
    with translated(f"cannot clean {directory}"):
        for left in sorted(directory.glob(".*.clm-*.tmp")):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
            removed.append(left.name)
        if removed:
            sync_directory(directory)
    return tuple(removed)


def temporary_name(path: Path) -> Path:
    """Return a hidden name next to `path`; the leading dot excludes it from patterns of model names."""
    return path.with_name(f".{path.name}.clm-{os.getpid()}-{next(_COUNTER)}.tmp")


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Convert an OSError in the block into an ArtefactError that names the failure and the remedy."""
    try:
        yield
    except OSError as exc:
        code, advice = _REASONS.get(exc.errno or 0, ("IO_ERROR", exc.strerror or str(exc)))
        raise ArtefactError(code, f"{doing}: {advice} ({exc.strerror})") from exc


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, int]]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        temporary = temporary_name(path)
        try:
            handle = os.open(temporary, flags, 0o600)
        except FileExistsError:
            continue  # A dead process with the same pid left this file: try the next number.
        break
    try:
        yield temporary, handle
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _copy(source: Path, handle: int) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reading:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            _write_all(handle, chunk)
    return digest.hexdigest()


def _dress(handle: int, mode: int, owner: Owner) -> None:
    now = os.fstat(handle)
    uid = -1 if owner.uid in {None, now.st_uid} else owner.uid
    gid = -1 if owner.gid in {None, now.st_gid} else owner.gid
    if (uid, gid) != (-1, -1):
        os.fchown(handle, uid if uid is not None else -1, gid if gid is not None else -1)
    os.fchmod(handle, mode)  # Not through open(): the umask would clear bits.


def _copy_attributes(path: Path, handle: int) -> None:
    try:
        names = os.listxattr(path)
    except OSError as exc:
        if exc.errno in {errno.ENOTSUP, errno.ENOSYS}:
            return
        raise
    for name in names:
        try:
            os.setxattr(handle, name, os.getxattr(path, name))
        except OSError:
            # A security module's policy sets its own labels. An ACL is set by the operator and must be kept.
            if not name.startswith("security."):
                raise


def _compare(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise ArtefactError("IO_ERROR", f"{path}: what was read back is not what was written")
