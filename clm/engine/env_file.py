"""The engine's environment file: a switch changes one value and keeps every other byte."""

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.files import Owner, replace_durably, sweep_temporaries, temporary_name
from clm.clock import SystemClock
from clm.engine.directory_lock import directory_lock
from clm.engine.env_grammar import Assignment, Reading, line_at, read
from clm.errors import PromotionError

_VALUE = re.compile(r"/[A-Za-z0-9._/-]{1,255}")
"""Characters that systemd and a sourcing shell read alike."""
_LOCK_TIMEOUT_S = 5.0


def parse(data: bytes) -> dict[str, str]:
    """Return the variables that systemd would set from this file.

    Raises:
        PromotionError: ENV_ENCODING.
    """
    return {a.key: a.value for a in read(data).assignments if a.is_seen}


def value_of(data: bytes, key: str) -> str | None:
    """Return the value of `key`, or None if it is unset or empty.

    Raises:
        PromotionError: ENV_ENCODING, ENV_AMBIGUOUS, ENV_UNSAFE, ENV_EXPORT; the text names the line.
    """
    found = _assignments_of(data, key)
    return (found[0].value or None) if found else None


def with_value(data: bytes, key: str, value: str) -> bytes:
    """Return the file with `key` changed or appended, and no other byte changed.

    Raises:
        PromotionError: ENV_VALUE if systemd and a shell would read the path differently; as `value_of`.
    """
    if not _VALUE.fullmatch(value) or os.path.normpath(value) != value or value.startswith("//"):
        raise PromotionError(
            "ENV_VALUE",
            f"{value!r} cannot be written as {key}: systemd and a shell agree only on absolute "
            "paths of letters, digits and ._/-",
        )
    found = _assignments_of(data, key)
    changed = _spliced(data, found, value) if found else _appended(data, f"{key}={value}")
    return _checked(data, changed, {key: value}, key)


def with_flag(data: bytes, key: str, *, flag: bool) -> bytes:
    """Return the file with `key` set to true or false, and no other byte changed.

    Raises:
        PromotionError: as `value_of`.
    """
    found, value = _assignments_of(data, key), "true" if flag else "false"
    changed = _spliced(data, found, value) if found else _appended(data, f"{key}={value}")
    return _checked(data, changed, {key: value}, key)


def without_value(data: bytes, key: str, sha256_before: str) -> bytes:
    """Return the file as it was before `key` was set; the hash identifies the earlier form.

    If no form has that hash, an operator changed other lines; then only the line is removed.
    """
    found = _assignments_of(data, key)
    if not found:
        return data
    # Our append may have added a newline, or replaced an empty value: the hash shows which.
    ways_back = (
        _without_line(data, found[-1], with_newline_before=False),
        _without_line(data, found[-1], with_newline_before=True),
        _spliced(data, found, ""),
    )
    for changed in ways_back:
        if hashlib.sha256(changed).hexdigest() == sha256_before:
            return changed
    for assignment in reversed(found):
        data = _without_line(data, assignment, with_newline_before=False)
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSnapshot:
    """The file's bytes and the facts that reveal a later write."""

    target: Path
    """The target of the symbolic link."""
    data: bytes
    sha256: str
    device: int
    inode: int
    mtime_ns: int
    uid: int
    gid: int
    mode: int


class EnvFile:
    """The file on disk, replaced atomically and only if unchanged since it was read."""

    def __init__(self, path: Path, clock: SystemClock | None = None, *, locks: bool = True) -> None:
        """Without `locks`, the caller must exclude other writers: any reader of a directory can lock it."""
        self.path = path
        self._clock = clock or SystemClock()
        self._locks = locks

    def read(self) -> EnvSnapshot:
        """Return the current file.

        Raises:
            PromotionError: ENV_MISSING, ENV_EMPTY, ENV_UNREADABLE.
        """
        try:
            # Resolve first: a rename over the link would replace the link and leave its target unchanged.
            target = self.path.resolve(strict=True)
            with target.open("rb") as handle:
                data = handle.read()
                # fstat of the open file, not stat of the path: both must describe the same inode.
                status = os.fstat(handle.fileno())
        except FileNotFoundError as exc:
            raise PromotionError(
                "ENV_MISSING",
                f"{self.path} does not exist; the engine reads its model path there: restore it, "
                "it is never created",
            ) from exc
        except (OSError, RuntimeError) as exc:
            raise PromotionError(
                "ENV_UNREADABLE", f"{self.path} cannot be read: {exc}; check its owner"
            ) from exc
        if not data.strip():
            raise PromotionError(
                "ENV_EMPTY", f"{self.path} has no content ({len(data)} bytes); restore it from a backup first"
            )
        return EnvSnapshot(
            target=target,
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            device=status.st_dev,
            inode=status.st_ino,
            mtime_ns=status.st_mtime_ns,
            uid=status.st_uid,
            gid=status.st_gid,
            mode=status.st_mode & 0o7777,
        )

    def refuse_unreplaceable(self, snapshot: EnvSnapshot) -> None:
        """Return if this user could replace the file and keep owner and mode; nothing is changed.

        Raises:
            PromotionError: ENV_NOT_WRITABLE.
        """
        me, directory = os.geteuid(), snapshot.target.parent
        why = ""
        if not os.access(directory, os.W_OK | os.X_OK):
            why = f"this user may not write in {directory}"
        elif me not in {0, snapshot.uid}:
            why = f"it belongs to user {snapshot.uid} and this is user {me}, who could not keep that owner"
        elif me != 0 and snapshot.gid not in {os.getegid(), *os.getgroups()}:
            why = f"its group {snapshot.gid} is not one of this user's groups, so it could not be kept"
        if why:
            raise PromotionError("ENV_NOT_WRITABLE", f"{self.path} cannot be replaced: {why}")

    def is_ours_to_write(self) -> bool:
        """Return whether a user other than root could change the file, in place or by a rename."""
        target = self.path.resolve()
        return os.geteuid() != 0 and (os.access(target, os.W_OK) or os.access(target.parent, os.W_OK))

    def replace(self, snapshot: EnvSnapshot, data: bytes) -> None:
        """Replace the file durably if it still equals `snapshot`; owner, mode, ACL and link stay.

        The old content is kept at the path that `previous_of` returns.

        Raises:
            PromotionError: ENV_CHANGED if another program wrote it, ENV_LOCKED; nothing was written.
            ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION; the file is whole, old or new.
        """
        with self._locked(snapshot.target.parent):
            replace_durably(
                snapshot.target,
                data,
                mode=snapshot.mode,
                owner=Owner(uid=snapshot.uid, gid=snapshot.gid),
                # Compare as late as possible, after the new file is on disk: editors do not take our lock.
                before_rename=lambda: self._prepare(snapshot, data),
            )

    def sweep(self) -> tuple[str, ...]:
        """Remove temporary files that a killed writer left next to this file."""
        directory = self.path.resolve().parent
        if not directory.is_dir():
            return ()
        with self._locked(directory):
            return sweep_temporaries(directory)

    def _prepare(self, snapshot: EnvSnapshot, data: bytes) -> None:
        self._refuse_changed(snapshot)
        _keep(snapshot.target, unless=data)

    def _refuse_changed(self, snapshot: EnvSnapshot) -> None:
        now = self.read()
        if now != snapshot:
            raise PromotionError(
                "ENV_CHANGED", f"{self.path} was written by another program; its version stays"
            )

    def _locked(self, directory: Path) -> contextlib.AbstractContextManager[None]:
        if not self._locks:
            return contextlib.nullcontext()
        return directory_lock(
            directory, missing="ENV_UNREADABLE", busy="ENV_LOCKED", wait_s=_LOCK_TIMEOUT_S, clock=self._clock
        )


def previous_of(target: Path) -> Path:
    """Return the path of the environment file's previous version, for an operator to restore.

    Our last write replaced this version. A write that restores it does not overwrite it, so after a rollback
    it is still the operator's version. Its name does not match `*.env`.
    """
    return target.with_name(f"{target.name}.clm-previous")


def _keep(target: Path, *, unless: bytes) -> None:
    kept = previous_of(target)
    # This write restores the kept version, so keeping the current one would lose the operator's.
    if kept.is_file() and kept.read_bytes() == unless:
        return
    # A hard link: it keeps owner, mode and ACL, and copies no secret.
    temporary = temporary_name(kept)
    os.link(target, temporary)
    temporary.rename(kept)


def _assignments_of(data: bytes, key: str) -> list[Assignment]:
    """Return what systemd reads as `key`, after checking that the file is unambiguous."""
    reading = read(data)
    _refuse_swallowed_lines(data, key, reading)
    found = [a for a in reading.assignments if a.key == key]
    for assignment in found:
        _refuse_oddly_written(data, assignment)
    if len({a.value for a in found}) > 1:
        lines = " and ".join(str(a.line) for a in found)
        raise PromotionError(
            "ENV_AMBIGUOUS",
            f"{key} is set to different values in lines {lines}; systemd takes the last: keep only one",
        )
    return found


def _refuse_swallowed_lines(data: bytes, key: str, reading: Reading) -> None:
    for line in reading.swallowing_comments:
        raise _unsafe(line, "is a comment that ends in a backslash; systemd 252 would swallow the next line")
    for offset in reading.continuations:
        if re.match(rb"[\r\n]*[ \t]*(export[ \t]+)?[A-Za-z_]\w*[ \t]*=(?!=)", data[offset:]):
            raise _unsafe(
                line_at(data, offset), "ends in a backslash; systemd 252 would swallow the next line"
            )
    if reading.open_at_the_end is not None:
        line, complaint = reading.open_at_the_end
        raise _unsafe(line, f"{complaint}; systemd would read what follows as part of it")
    seen = {a.start for a in reading.assignments if a.key == key}
    pattern = (
        rb"(?:\A|(?<=[\r\n]))(\xef\xbb\xbf)?[ \t]*(export[ \t]+)?(" + re.escape(key.encode()) + rb")[ \t]*="
    )
    for match in re.finditer(pattern, data):
        line = line_at(data, match.start(3))
        if match[2]:
            raise PromotionError(
                "ENV_EXPORT",
                f"line {line} says `export {key}=`; systemd ignores it, a shell does not: remove `export`",
            )
        if match[1]:
            raise _unsafe(line, f"starts with a byte order mark, so systemd does not see {key} in it")
        if match.start(3) not in seen:
            raise _unsafe(line, f"looks like {key} but systemd reads it as part of an earlier line")


def _refuse_oddly_written(data: bytes, assignment: Assignment) -> None:
    if assignment.equals != assignment.start + len(assignment.key.encode()):
        raise _unsafe(
            assignment.line, f"has a space before `=`; systemd sets {assignment.key}, a shell does not"
        )
    if re.search(rb"[\r\n]", data[assignment.start : assignment.value_end]):
        raise _unsafe(assignment.line, f"sets {assignment.key} over more than one line")


def _unsafe(line: int, complaint: str) -> PromotionError:
    return PromotionError("ENV_UNSAFE", f"line {line} {complaint}: repair the line first")


def _spliced(data: bytes, found: list[Assignment], value: str) -> bytes:
    for assignment in reversed(found):
        data = data[: assignment.value_start] + value.encode() + data[assignment.value_end :]
    return data


def _appended(data: bytes, line: str) -> bytes:
    newline = b"\r\n" if b"\r\n" in data else b"\n"
    between = b"" if not data or data.endswith((b"\n", b"\r")) else newline
    return data + between + line.encode() + newline


def _without_line(data: bytes, assignment: Assignment, *, with_newline_before: bool) -> bytes:
    end = assignment.end
    while end < len(data) and data[end : end + 1] in b"\r\n":
        end += 1
        if data[end - 1 : end] == b"\n":
            break
    start = assignment.start
    if with_newline_before:
        start -= 2 if data[:start].endswith(b"\r\n") else int(data[:start].endswith(b"\n"))
    return data[:start] + data[end:]


def _checked(before: bytes, after: bytes, change: Mapping[str, str], key: str) -> bytes:
    _assignments_of(after, key)  # our own output must be readable, or a rollback would be impossible
    # Compare everything that systemd would read: a change of one line can end a continued one.
    if parse(after) != {**parse(before), **change}:
        raise PromotionError(
            "ENV_UNSAFE",
            f"setting {key} would change what systemd reads elsewhere in the file: repair it first",
        )
    return after
