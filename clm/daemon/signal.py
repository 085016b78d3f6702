"""Measure the signal floor in a child process; scikit-learn never enters the daemon."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import clm
from clm.artefacts.job_files import STDERR, STDOUT
from clm.artefacts.signal_files import read_floor, write_signal_job
from clm.clock import SystemClock
from clm.daemon.child import Child
from clm.data.dataset import Dataset
from clm.data.signal import SignalFloor, SignalPolicy, signal_rows
from clm.errors import ArtefactError, Interrupted
from clm.ports import Clock, StopSignal

Measure = Callable[[Dataset, StopSignal], SignalFloor]

_POLL_S = 0.05


class SubprocessSignal:
    """Fulfils ports.SignalProbe with `python -m clm.training.signal DIRECTORY`."""

    def __init__(
        self,
        policy: SignalPolicy,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        budget_s: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        self._policy = policy
        self._python = python or Path(sys.executable)
        self._environment = dict(environment or {"PATH": os.defpath})
        self._budget_s = budget_s
        self._clock = clock or SystemClock()

    def measure(self, dataset: Dataset, stop: StopSignal) -> SignalFloor:
        """Return the floor, or why it could not be measured: a training does not hang on it.

        Raises:
            Interrupted: `stop` was set; the child is gone.
        """
        with self.waiting() as answer:
            return answer(dataset, stop)

    @contextmanager
    def waiting(self) -> Iterator[Measure]:
        """Give what `measure` does, from a child that gets ready while the data is still being read."""
        try:
            made = tempfile.TemporaryDirectory(prefix="clm-signal-")
        except OSError as error:
            why = f"there is no temporary directory: {error.strerror}"
            yield lambda _dataset, _stop: _unknown(why)
            return
        with made as name:
            directory = Path(name)
            try:
                child = self._start(directory)
            except OSError as error:
                why = f"{self._python} cannot be started: {error.strerror}"
                yield lambda _dataset, _stop: _unknown(why)
                return
            try:
                yield lambda dataset, stop: self._ask(child, directory, dataset, stop)
            finally:
                child.end(0.0, self._clock)

    def _start(self, directory: Path) -> Child:
        with (directory / STDOUT).open("wb") as stdout, (directory / STDERR).open("wb") as stderr:
            return Child(
                [str(self._python), "-P", "-m", "clm.training.signal", str(directory), str(os.getpid())],
                environment={
                    **self._environment,
                    "PYTHONPATH": str(Path(clm.__file__).parents[1]),
                    # The floor is small; threads would only fight with the engine for its core.
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
                directory=directory,
                stdout=stdout,
                stderr=stderr,
            )

    def _ask(self, child: Child, directory: Path, dataset: Dataset, stop: StopSignal) -> SignalFloor:
        try:
            write_signal_job(directory, signal_rows(dataset, self._policy), self._policy)
            deadline = self._clock.monotonic() + self._budget_s
            while not child.has_ended():
                if stop.wait(_POLL_S):
                    raise Interrupted("TRAINING_INTERRUPTED", "stopped before training: the daemon is to end")
                if self._clock.monotonic() >= deadline:
                    return _unknown(f"the child took longer than {self._budget_s:g} s")
            if code := child.end(0.0, self._clock):
                words = (directory / STDERR).read_text(encoding="utf-8", errors="replace").splitlines()
                return _unknown(f"the child ended with code {code}: {' '.join(words[-1:]) or 'no word'}")
            return read_floor(directory)
        except (ArtefactError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return _unknown(f"its files could not be written or read: {error}")


def _unknown(why: str) -> SignalFloor:
    return SignalFloor(skills={}, n_rows=0, n_blocks=0, absent_because=" ".join(why.split()))
