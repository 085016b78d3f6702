"""Have a served file proven by a fresh process; torch never enters the daemon."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import clm
from clm.artefacts.golden import GOLDEN_NAME
from clm.artefacts.job_files import STDERR, STDOUT, ChildExit
from clm.artefacts.proof_files import ProofJob, read_proof, write_ask
from clm.clock import SystemClock
from clm.daemon.child import Child
from clm.domain.proof import GoldenRows, ServingProof
from clm.errors import Interrupted, TrainingError
from clm.ports import Clock, StopSignal

_POLL_S = 0.05


class SubprocessProver:
    """Fulfils ports.Prover with `python -m clm.training.prove DIRECTORY`."""

    def __init__(
        self,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._python = python or Path(sys.executable)
        self._environment = dict(environment or {"PATH": os.defpath})
        self._clock = clock or SystemClock()

    def prove(self, job: ProofJob, golden: GoldenRows, stop: StopSignal) -> ServingProof:
        """Return what a fresh process found; the child is gone whichever way this ends.

        Raises:
            TrainingError: CHILD_KILLED, CHILD_TIMEOUT, CHILD_FAILED, ARCHITECTURE_UNKNOWN, JOB_UNREADABLE,
                RESULT_INVALID.
            ArtefactError: the files of the asking cannot be written.
            Interrupted: `stop` was set.
        """
        write_ask(job, golden)
        child = self._start(job)
        deadline = self._clock.monotonic() + job.timeout_s
        try:
            while not child.has_ended():
                if stop.wait(_POLL_S):
                    raise _interrupted(job)
                if self._clock.monotonic() >= deadline:
                    raise TrainingError(
                        "CHILD_TIMEOUT",
                        f"proving {job.weights_path} took longer than {job.timeout_s:g} s; look whether the "
                        "machine starves it, or raise CLM_TRAIN_TIMEOUT_S",
                    )
        finally:
            code = child.end(0.0, self._clock)
            (job.directory / GOLDEN_NAME).unlink(missing_ok=True)  # they are kept with the artefact
        # A stopping service manager may tell the child before it tells us.
        if code and (stop.is_set() or (code == -signal.SIGTERM and stop.wait(_POLL_S))):
            raise _interrupted(job)
        if code:
            raise _failure(code, job)
        return read_proof(job, golden)

    def _start(self, job: ProofJob) -> Child:
        environment = {
            **self._environment,
            "PYTHONPATH": str(Path(clm.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",  # one core is what gate 10 speaks of
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [str(self._python), "-P", "-m", "clm.training.prove", str(job.directory), str(os.getpid())]
        try:
            with (job.directory / STDOUT).open("wb") as stdout, (job.directory / STDERR).open("wb") as stderr:
                return Child(
                    command, environment=environment, directory=job.directory, stdout=stdout, stderr=stderr
                )
        except OSError as exc:
            raise TrainingError(
                "CHILD_FAILED", f"{self._python} cannot be started: {exc.strerror}; set CLM_PYTHON"
            ) from exc


def _interrupted(job: ProofJob) -> Interrupted:
    return Interrupted("TRAINING_INTERRUPTED", f"stopped while {job.weights_path.name} was proven")


def _failure(code: int, job: ProofJob) -> TrainingError:
    words = (job.directory / STDERR).read_text(encoding="utf-8", errors="replace").splitlines()
    said = " ".join(words[-1:]) or "it left no message"
    if code in set(ChildExit):
        return TrainingError(ChildExit(code).name, f"proving {job.weights_path} failed: {said}")
    if code < 0:
        name = signal.Signals(-code).name
        return TrainingError(
            "CHILD_KILLED", f"proving {job.weights_path} was ended by {name}: {said}; it can be started again"
        )
    return TrainingError("CHILD_FAILED", f"proving {job.weights_path} failed with exit code {code}: {said}")
