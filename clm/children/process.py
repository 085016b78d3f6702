"""A child process in a group of its own, without pipes: ended as a whole, reaped, never left behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from clm.ports import Clock

_POLL_S = 0.02
SPINS = "100000"
"""How often a thread that waits for another one polls before it sleeps (benchmarks/neighbours.py).

With libgomp's default it occupies the core that the other thread needs. Without any polling it wakes up too
late on a virtual machine, and training alone is several times slower.
"""
WORDS_LINES = 20
WORDS_BYTES = 8192
"""How much of a child's standard error its last words contain."""
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


class Child:
    """A started process; the caller ends it in a `finally`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        stdout: BinaryIO,
        stderr: BinaryIO,
    ) -> None:
        # Files, not pipes: a full pipe stops the child, and a parent that waits for it then never returns.
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def has_ended(self) -> bool:
        """Return whether the process ended; it stays a zombie, so that its group id is not reused."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, grace_s: float, clock: Clock) -> int:
        """End the process and all that it started, and return its exit code: -n for signal n."""
        if self._process.returncode is None:
            if not self.has_ended():
                self._signal(signal.SIGTERM)
                self._await_end(grace_s, clock)
            self._signal(signal.SIGKILL)
        return self._process.wait()

    def _await_end(self, grace_s: float, clock: Clock) -> None:
        deadline = clock.monotonic() + grace_s
        while not self.has_ended() and clock.monotonic() < deadline:
            clock.sleep(_POLL_S)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def last_words(path: Path) -> str:
    """Return the end of a log as printable text of at most 20 lines and 8 KiB; "" if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - WORDS_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    lines = text.splitlines()[-WORDS_LINES:]
    return "\n".join("".join(char if char.isprintable() else "?" for char in line) for line in lines)


def threads_environment(threads: int) -> dict[str, str]:
    """Return the variables that set the number of threads; 0 leaves the number to the libraries.

    The libraries read them once, when they are loaded, so the child cannot set them itself.
    """
    waiting = {"GOMP_SPINCOUNT": SPINS}
    if threads == 0:
        return waiting
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), **(waiting if threads > 1 else {})}


def cgroup_oom_kills() -> int | None:
    """Return how many processes of our cgroup the kernel killed for memory; None if not counted."""
    with contextlib.suppress(OSError, ValueError):
        for line in OWN_CGROUP.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                return _oom_kills(CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
            if not controllers and (events := CGROUPS / path.lstrip("/") / "memory.events").exists():
                return _oom_kills(events)
    return None


def _oom_kills(events: Path) -> int | None:
    fields = dict(line.split(maxsplit=1) for line in events.read_text(encoding="utf-8").splitlines())
    return int(fields["oom_kill"]) if "oom_kill" in fields else None
