"""Processes as tests see them, and programs in the place of Python."""

import os
import time
from collections.abc import Callable
from pathlib import Path


def children(parent: int | None = None) -> set[int]:
    """Return the processes, zombies too, whose parent is this process or the one named."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == (parent or os.getpid()):
            found.add(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], within_s: float = 15.0) -> bool:
    """Return whether the condition holds within so many seconds."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def script(directory: Path, body: str) -> Path:
    """Make a program in the place of Python: $4 is the question, $5 its directory, $6 the parent's pid."""
    path = directory / "python"
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path
