"""A child process in a group of its own, without pipes: ended whole, reaped, never left behind."""

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
"""How often a thread that waits for another looks before it sleeps (benchmarks/neighbours.py).

One that spins as long as libgomp likes holds the core that the other waits for; one that sleeps at once is
woken too late on a virtual machine, alone several times slower.
"""
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


class Child:
    """A started process; whoever starts one ends it in a `finally`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        stdout: BinaryIO,
        stderr: BinaryIO,
    ) -> None:
        # Files, not pipes: a pipe that nobody empties stops the child, and waiting for both is a deadlock.
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
        """Return whether the process is over; it stays a zombie, so that its group cannot be another's."""
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


def threads_environment(threads: int) -> dict[str, str]:
    """Return what sets the thread count of a child before its libraries are there; 0 leaves it to them.

    They read it once, when they are loaded: too late for the child to set.
    """
    waiting = {"GOMP_SPINCOUNT": SPINS}
    if threads == 0:
        return waiting
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), **(waiting if threads > 1 else {})}


def cgroup_oom_kills() -> int | None:
    """Return how many processes of our cgroup the kernel killed for memory; None where it does not tell."""
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
