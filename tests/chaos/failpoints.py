"""Every act of a process that outlives it, announced right before it happens.

A checkpoint of the promoter says how far it thinks it is. Between two of them lie the calls that change
something: these are the points at which a kill can leave something half done. Nothing of it is in the
product, and a step added there is a point here without a word.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, event

_CALLS: tuple[tuple[ModuleType, str], ...] = (
    *((os, name) for name in ("write", "fsync", "rename", "replace", "link", "unlink", "remove", "symlink")),
    *(
        (os, name)
        for name in ("fchmod", "fchown", "setxattr", "truncate", "ftruncate", "posix_spawn", "kill")
    ),
    (signal, "pidfd_send_signal"),
)
_READS = ("SELECT", "PRAGMA")


def arm(tell: Callable[[str], None]) -> None:
    """Announce every such act of this process from now on; there is no way back, so call it in a child."""
    for module, name in _CALLS:
        setattr(module, name, _announced(name, getattr(module, name), tell))
    opening = os.open

    def announced_open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            tell(f"create {_short(path)}")
        return opening(path, flags, *rest, **named)

    os.open = announced_open

    @event.listens_for(Engine, "before_cursor_execute")
    def _before(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        words = " ".join(statement.split()[:3])
        if not words.startswith(_READS):
            tell(f"sql {words}")


def _announced(name: str, call: Callable[..., Any], tell: Callable[[str], None]) -> Callable[..., Any]:
    def announced(*arguments: Any, **named: Any) -> Any:
        first = arguments[0] if arguments and not isinstance(arguments[0], int) else ""
        tell(f"{name} {_short(first)}".rstrip())
        return call(*arguments, **named)

    return announced


def _short(path: object) -> str:
    return Path(path).name.partition(".clm-")[0] if isinstance(path, str | os.PathLike) else ""
