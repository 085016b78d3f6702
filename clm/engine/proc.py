"""Process information from /proc."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """A process identity that survives pid reuse."""

    pid: int
    started: str
    """Boot id and start time in clock ticks: they differ for a reused pid."""

    @property
    def name(self) -> str:
        """Return an id that changes with every start."""
        return f"{self.pid}:{self.started}"


def identity_of(pid: int) -> ProcessIdentity | None:
    """Return the process with this pid, or None if there is none or it is a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may contain spaces and parentheses
    # A zombie keeps its pid, but its program has ended.
    if fields[0] in {"Z", "X"}:
        return None
    # proc_pid_stat(5): field 22 is the start time; the list starts at field 3.
    return ProcessIdentity(pid=pid, started=f"{boot}:{fields[19]}")


def variable_of(pid: int, key: str) -> tuple[str | None, str]:
    """Return a variable of a process's environment or, if it is missing, why."""
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError as exc:
        return None, f"the environment of pid {pid} cannot be read: {exc.strerror}"
    for entry in environ.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name == key.encode():
            return value.decode(errors="replace"), ""
    return None, f"{key} is not set for pid {pid}"


def reap(pid: int) -> None:
    """Reap a dead child process; other processes are left alone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
