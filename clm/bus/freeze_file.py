"""The last known freeze, kept in the state directory so that it survives a restart.

It is a file, not a table: it must be readable while the store is locked, restoring a backup of the store must
not restore an old freeze, and an operator can remove it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import orjson
import structlog

from clm.artefacts.files import replace_durably
from clm.clock import iso
from clm.domain.freeze import FreezeState, LastKnown
from clm.errors import ArtefactError

log = structlog.get_logger()

REFRESH = timedelta(minutes=10)
"""Maximum age of the recorded reply time while nothing else changes."""
UNREADABLE = LastKnown(server="", state=FreezeState.UNKNOWN)
"""Placeholder for an unreadable file: a state was recorded, but it is lost."""


class FreezeStore(Protocol):
    """Storage for the last known freeze."""

    def read(self) -> LastKnown | None:
        """Return the last known freeze, or None if Redis has never replied."""
        ...

    def keep(self, before: LastKnown | None, after: LastKnown | None) -> bool:
        """Store `after` if the record is still `before`; return False if another process changed it."""
        ...


class FreezeMemory:
    """Keeps the last known freeze in memory."""

    def __init__(self) -> None:
        self._last: LastKnown | None = None

    def read(self) -> LastKnown | None:
        """Return the last known freeze."""
        return self._last

    def keep(self, before: LastKnown | None, after: LastKnown | None) -> bool:
        """Store `after`."""
        self._last = after
        return True


class FreezeFile:
    """Keeps the last known freeze in one file that several processes share.

    `keep` compares and swaps under a directory lock: an older reply never replaces a newer one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answered: LastKnown | None = None
        """The last reply in this process; its time in the file may be up to ten minutes old."""
        self._in_file: LastKnown | None = None
        """The file's content when it was last read."""
        self._is_unreadable = False
        self._unsaved: LastKnown | None = None
        """State that could not be written; it applies in this process until a write succeeds."""

    def read(self) -> LastKnown | None:
        """Return the last known freeze; an unreadable file counts as unknown."""
        if self._unsaved is not None:
            return self._unsaved
        try:
            known = _decode(self._path.read_bytes())
        except FileNotFoundError:
            self._in_file = None
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            if not self._is_unreadable:
                log.warning("freeze.record_unreadable", path=str(self._path), error=str(exc))
            self._is_unreadable, self._in_file = True, None
            return UNREADABLE
        self._is_unreadable, self._in_file = False, known
        return _with_newer_time(known, self._answered)

    def keep(self, before: LastKnown | None, after: LastKnown | None) -> bool:
        """Write `after` if a write is due; a failed write is logged once and kept in memory."""
        if after is None:
            return True
        if not self._unsaved and not _is_due(self._in_file, after):
            self._answered = after
            return True
        try:
            with _alone_in(self._path.parent) as is_alone:
                if not is_alone or (self._unsaved is None and self.read() != before):
                    return False
                self._sweep()
                replace_durably(self._path, _encode(after), mode=0o640)
        except (OSError, ArtefactError) as exc:
            if self._unsaved is None:
                log.warning("freeze.not_recorded", path=str(self._path), error=str(exc))
            self._unsaved = after
        else:
            self._unsaved, self._answered = None, after
        return True

    def _sweep(self) -> None:
        """Remove temporary files of killed writers; the lock excludes other writers."""
        for left in self._path.parent.glob(f".{self._path.name}.clm-*.tmp"):
            left.unlink(missing_ok=True)


def _is_due(in_file: LastKnown | None, after: LastKnown) -> bool:
    if in_file is None or _essence(in_file) != _essence(after):
        return True
    if in_file.seen_at is None or after.seen_at is None:
        return in_file.seen_at != after.seen_at
    return abs(after.seen_at - in_file.seen_at) >= REFRESH


def _with_newer_time(known: LastKnown, answered: LastKnown | None) -> LastKnown:
    if answered is None or _essence(known)[:3] != _essence(answered)[:3]:
        return known
    if known.seen_at is None or answered.seen_at is None or answered.seen_at <= known.seen_at:
        return known
    return replace(known, seen_at=answered.seen_at)


def _essence(known: LastKnown) -> tuple[str, FreezeState, str, bool]:
    return known.server, known.state, known.cause, known.failing_since is None


@contextmanager
def _alone_in(directory: Path) -> Iterator[bool]:
    """Lock the directory for one read and one write; yield False if another process holds the lock."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _encode(known: LastKnown) -> bytes:
    document = {
        "server": known.server,
        "state": known.state.value,
        "cause": known.cause,
        "seen_at": iso(known.seen_at) if known.seen_at else None,
        "failing_since": iso(known.failing_since) if known.failing_since else None,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _decode(text: bytes) -> LastKnown:
    document = orjson.loads(text)
    state = FreezeState(document["state"])
    if state not in {FreezeState.THAWED, FreezeState.FROZEN, FreezeState.UNKNOWN}:
        raise ValueError(f"{state} is not a recordable state")
    return LastKnown(
        server=str(document["server"]),
        state=state,
        cause=str(document["cause"]),
        seen_at=_moment(document["seen_at"]),
        failing_since=_moment(document["failing_since"]),
    )


def _moment(text: object) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment
