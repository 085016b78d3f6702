"""Check whether anyone but root can change a file that root executes or rewrites.

Standard library only and self-contained: the helper runs it before any other import of clm, and the installer
runs it as a script: `trust.py --path|--below PATH...` prints the first weakness and exits with 1; `--below`
also checks a directory's content.
"""

import os
import stat
import sys
from collections.abc import Collection
from pathlib import Path

_MAX_LINKS = 16


def is_protected(status: os.stat_result, users: Collection[int] | None = None) -> bool:
    """Return whether only `users` can change an entry with this status: by default root and our own user.

    A sticky directory counts as protected: others add entries to it, but cannot replace root's.
    """
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return status.st_uid in (users or {0, os.geteuid()}) and (not others_write or bool(is_sticky))


def weakness(path: Path, users: Collection[int] | None = None) -> str | None:
    """Return why other users could change the target of this absolute path, or None if they cannot.

    Checks every directory from the root directory down, including link targets.
    """
    here, rest, links = Path("/"), [*path.parts[1:]], 0
    if why := _weak(here, users):
        return why
    while rest:
        part = rest.pop(0)
        if part == "..":
            here = here.parent
            continue
        here = here / part
        try:
            status = here.lstat()
        except OSError as exc:
            return f"{here} cannot be examined: {exc.strerror}"
        if stat.S_ISLNK(status.st_mode):
            if status.st_uid not in (users or {0, os.geteuid()}):
                return f"{here} is a link of uid {status.st_uid}"
            links += 1
            if links > _MAX_LINKS:
                return f"{path} leads through more than {_MAX_LINKS} links"
            target = Path(os.readlink(here))  # noqa: PTH115  Path.readlink would hide an absolute target's root
            here = Path("/") if target.is_absolute() else here.parent
            rest = [*target.parts[target.is_absolute() :], *rest]
        elif not is_protected(status, users):
            return _describe(here, status)
    return None


def weakness_below(directory: Path) -> str | None:
    """Return why someone else could change a file in this tree or on the way to it; None if only root can."""
    if why := weakness(directory):
        return why
    for parent, names, files in os.walk(directory):
        for name in (*names, *files):
            entry = Path(parent) / name
            why = weakness(entry) if entry.is_symlink() else _weak(entry)
            if why:
                return why
    return None


def weakness_of_this_program(*programs: Path) -> str | None:
    """Return why someone else could change the code that this process runs; None if only root can."""
    own = Path(__file__).absolute().parents[2]
    libraries = [Path(entry) for entry in sys.path if entry and Path(entry).is_dir()]
    for path in (Path(sys.executable), *libraries, *programs):
        if why := weakness(path.absolute()):
            return why
    return weakness_below(own)


def _weak(path: Path, users: Collection[int] | None = None) -> str | None:
    status = path.lstat()
    return None if is_protected(status, users) else _describe(path, status)


def _describe(path: Path, status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    return f"{path} (uid {status.st_uid}, mode {mode:04o}) can be written by other users than root"


if __name__ == "__main__":
    examine = weakness_below if sys.argv[1] == "--below" else weakness
    sys.exit(next(filter(None, (examine(Path(name).absolute()) for name in sys.argv[2:])), None))
