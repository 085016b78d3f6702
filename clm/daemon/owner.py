"""The command line works as the user that the daemon is: root's files would lock the daemon out."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clm.settings import Settings


def owner_of(settings: Settings) -> int | None:
    """Return the user whose files a verb run by root would make, None where that is root or nobody yet."""
    for path in (settings.state_dir, settings.store):
        if path.exists():
            return path.stat().st_uid or None
    return None


def work_as_owner(settings: Settings, *, for_good: bool = True) -> str | None:
    """Become the owner of the state directory, where root runs this; return a line that says so.

    SQLite makes its journal as whoever writes first, and a daemon that may not write it stands still.
    Not `for_good`, `as_root` gives root back for a moment.
    """
    uid = owner_of(settings)
    if os.geteuid() != 0 or uid is None:
        return None
    try:
        person = pwd.getpwuid(uid)
        name, gid = person.pw_name, person.pw_gid
        os.initgroups(name, gid)
    except KeyError:
        name, gid = str(uid), _group_of(settings)
        os.setgroups([gid])
    if for_good:
        os.setgid(gid)
        os.setuid(uid)
    else:
        os.setegid(gid)
        os.seteuid(uid)
    return f"working as {name}, to whom {settings.state_dir} belongs"


@contextmanager
def as_root() -> Iterator[None]:
    """Be root again inside, where `work_as_owner` put it aside; else nothing changes."""
    uid, gid = os.geteuid(), os.getegid()
    if os.getuid() != 0 or uid == 0:
        yield
        return
    os.seteuid(0)
    os.setegid(0)
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)


def _group_of(settings: Settings) -> int:
    there: Path = settings.state_dir if settings.state_dir.exists() else settings.store
    return there.stat().st_gid
