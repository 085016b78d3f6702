"""A child that is sent for an answer which nothing hangs on: it has a budget, and may come back without."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import clm
from clm.daemon.child import Child, threads_environment
from clm.errors import Interrupted
from clm.ports import Clock, StopSignal

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A module of the training side, the directory it works in, and how long it may take."""

    module: str
    arguments: Sequence[str]
    directory: Path
    threads: int
    budget_s: float


def send(
    errand: Errand,
    python: Path,
    environment: Mapping[str, str],
    stop: StopSignal,
    clock: Clock,
    grace_s: float,
) -> str:
    """Wait for the child's end and return "", or why it did not end well; it is gone either way.

    Raises:
        Interrupted: `stop` was set.
    """
    name = errand.module.rpartition(".")[2]
    words = errand.directory / f"{name}.err"
    try:
        with (errand.directory / f"{name}.out").open("wb") as stdout, words.open("wb") as stderr:
            child = Child(
                [str(python), "-P", "-m", errand.module, *errand.arguments, str(os.getpid())],
                environment={
                    **environment,
                    "PYTHONPATH": str(Path(clm.__file__).parents[1]),
                    **threads_environment(max(1, errand.threads)),
                },
                directory=errand.directory,
                stdout=stdout,
                stderr=stderr,
            )
    except OSError as error:
        return f"{python} cannot be started: {error.strerror}"
    in_time = True
    try:
        deadline = clock.monotonic() + errand.budget_s
        while in_time and not child.has_ended():
            if stop.wait(_POLL_S):
                raise Interrupted("TRAINING_INTERRUPTED", f"{name} was stopped: the daemon is to end")
            in_time = clock.monotonic() < deadline
    finally:
        code = child.end(grace_s, clock)
    if not in_time:
        return f"the child took longer than {errand.budget_s:g} s"
    if not code:
        return ""
    said = words.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
    return f"the child ended with code {code}: {' '.join(said)[:300] or 'no word'}"
