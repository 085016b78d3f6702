"""Train in a child process and believe its answer only after checking it; torch never enters the daemon."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import orjson

import clm
from clm.artefacts.job_files import PROGRESS, STDERR, STDOUT, ChildExit, parse_epoch, parse_resumed, write_job
from clm.artefacts.result_files import read_result
from clm.clock import SystemClock
from clm.daemon.child import Child, cgroup_oom_kills, threads_environment
from clm.daemon.memory import require_room
from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.errors import Interrupted, TrainingError
from clm.ports import Clock, StopSignal

STDERR_LINES = 20
STDERR_BYTES = 8192
"""How much of the child's last words an error carries."""

_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
"""Signals a process brings upon itself; any other was sent by somebody."""


class SubprocessTrainer:
    """Starts `python -m clm.training.worker JOBDIR`, follows its progress and waits for its end."""

    def __init__(
        self,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        poll_s: float = 0.2,
        silence_s: float = 900.0,
        cpu_s: float = 0.0,
        memory_mb: int = 0,
        checkpoints: Path | None = None,
        clock: Clock | None = None,
        oom_kills: Callable[[], int | None] = cgroup_oom_kills,
    ) -> None:
        """Keep what is needed to start children.

        `silence_s` is how long a child may go without a finished epoch; `grace_s` what lies between
        SIGTERM and SIGKILL; `environment` what children inherit beside the thread counts; `cpu_s` and
        `memory_mb` what one may take of the machine, 0 for no limit; `checkpoints` where a training that
        was ended before its time is kept, so that the next one of the same kind goes on there.
        """
        self._python = python or Path(sys.executable)
        self._environment = dict(environment or {"PATH": os.defpath})
        self._grace_s = grace_s
        self._poll_s = poll_s
        self._silence_s = silence_s
        self._cpu_s = cpu_s
        self._memory_mb = memory_mb
        self._checkpoints = checkpoints
        self._clock = clock or SystemClock()
        self._oom_kills = oom_kills

    def train(
        self,
        job: TrainingJob,
        dataset: Dataset,
        on_epoch: Callable[[EpochReport], None],
        stop: StopSignal,
    ) -> TrainingResult:
        """Train and return the checked result; the child is gone whichever way this ends.

        Raises:
            TrainingError: MEMORY_BUDGET, CHILD_KILLED, CHILD_OOM, CHILD_TIMEOUT, CHILD_FAILED, NAN_LOSS,
                EXPORT_MISMATCH, DEVICE_ABSENT, RESULT_INVALID.
            ArtefactError: the job's files cannot be written.
            Interrupted: `stop` was set.
        """
        job = replace(job, cpu_s=self._cpu_s, memory_mb=self._memory_mb, checkpoints=self._checkpoints)
        require_room(job, dataset)
        write_job(job, dataset)
        watch = _Watch(job, on_epoch)
        oom_kills_before = self._oom_kills()
        child = self._start(job)
        try:
            self._follow(child, watch, stop)
        finally:
            code = child.end(self._grace_s, self._clock)
        watch.take_news()
        # A stopping service manager may tell the child before it tells us.
        if code and (stop.is_set() or (code == -signal.SIGTERM and stop.wait(self._poll_s))):
            raise _interrupted(watch)
        if code:
            raise _failure(code, watch, oom_killed=self._oom_kills() != oom_kills_before)
        return read_result(job.directory, len(dataset.split.test), len(dataset.split.validation))

    def _start(self, job: TrainingJob) -> Child:
        # The parent's pid lets the child notice that it was orphaned before it could tie itself to us.
        command = [str(self._python), "-P", "-m", "clm.training.worker", str(job.directory), str(os.getpid())]
        environment = {
            **self._environment,
            **threads_environment(job.spec.threads),
            "PYTHONPATH": str(Path(clm.__file__).parents[1]),
            # Without it a GPU's products need not come out the same twice; a CPU does not read it.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        try:
            with (job.directory / STDOUT).open("wb") as stdout, (job.directory / STDERR).open("wb") as stderr:
                return Child(
                    command, environment=environment, directory=job.directory, stdout=stdout, stderr=stderr
                )
        except OSError as exc:
            raise TrainingError(
                "CHILD_FAILED",
                f"training {job.run_id}: {self._python} cannot be started: {exc}; set CLM_PYTHON",
            ) from exc

    def _follow(self, child: Child, watch: "_Watch", stop: StopSignal) -> None:
        """Return when the child has ended by itself."""
        started = heard = self._clock.monotonic()
        while not child.has_ended():
            if watch.take_news():
                heard = self._clock.monotonic()
            if stop.is_set():
                raise _interrupted(watch)
            now = self._clock.monotonic()
            if now - started >= watch.job.timeout_s:
                limit = f"after {watch.job.timeout_s:g} s"
                raise _timeout(watch, limit, "raise CLM_TRAIN_TIMEOUT_S or lower CLM_EPOCHS")
            if now - heard >= self._silence_s:
                limit = f"after {self._silence_s:g} s without a word"
                raise _timeout(watch, limit, "look whether the machine starves it")
            stop.wait(self._poll_s)


class _Watch:
    """Reads progress.jsonl as it grows."""

    def __init__(self, job: TrainingJob, on_epoch: Callable[[EpochReport], None]) -> None:
        self.job = job
        self._on_epoch = on_epoch
        self._read = 0
        self._epoch = 0
        self._network = ""

    def take_news(self) -> bool:
        """Pass on the epochs that were finished since the last call, and return whether there were any."""
        news = False
        for line in self._new_lines():
            try:
                document = orjson.loads(line)
                resumed = parse_resumed(document)
                report = parse_epoch(document) if resumed is None else None
            except (ValueError, KeyError, TypeError) as exc:
                raise TrainingError(
                    "RESULT_INVALID",
                    f"training {self.job.run_id} wrote progress that is no report of an epoch: {line[:80]!r}",
                ) from exc
            news = True
            if report is None:
                # Those epochs were told when they were trained.
                self._epoch = resumed or 0
                continue
            self._epoch, self._network = report.epoch, report.network
            self._on_epoch(report)
        return news

    def where(self) -> str:
        """Say how far the training had come."""
        if not self._epoch and not self._network:
            return f"before epoch 1 of {self.job.spec.epochs} was done"
        of = f" of {self._network}" if self._network else ""
        return f"after epoch {self._epoch} of {self.job.spec.epochs}{of}"

    def _new_lines(self) -> Iterator[bytes]:
        path = self.job.directory / PROGRESS
        if not path.exists():
            return
        with path.open("rb") as progress:
            progress.seek(self._read)
            whole, ending, _ = progress.read().rpartition(b"\n")
        self._read += len(whole) + len(ending)
        yield from whole.splitlines()


def _interrupted(watch: _Watch) -> Interrupted:
    return Interrupted(
        "TRAINING_INTERRUPTED",
        f"training {watch.job.run_id} was stopped {watch.where()}: asked to stop",
    )


def _timeout(watch: _Watch, limit: str, advice: str) -> TrainingError:
    return TrainingError(
        "CHILD_TIMEOUT", f"training {watch.job.run_id} was ended {limit}, {watch.where()}; {advice}"
    )


def _failure(code: int, watch: _Watch, *, oom_killed: bool) -> TrainingError:
    """Tell the ways apart in which a child can fail."""
    training, where = f"training {watch.job.run_id}", watch.where()
    last_words = _last_words(watch.job.directory / STDERR)
    if code in set(ChildExit):
        return TrainingError(
            ChildExit(code).name, f"{training} failed {where}: {last_words or 'it left no message'}"
        )
    if code >= 0:
        return TrainingError("CHILD_FAILED", f"{training} failed with exit code {code} {where}: {last_words}")
    number = signal.Signals(-code)
    name = f"{number.name} (signal {-code})"
    if number is signal.SIGXCPU:
        limit = f"after {watch.job.cpu_s:g} s of processor time"
        return _timeout(watch, limit, "raise CLM_TRAIN_CPU_S or lower CLM_EPOCHS")
    if number in _CRASHES:
        return TrainingError("CHILD_FAILED", f"{training} crashed by {name} {where}: {last_words}")
    if number is signal.SIGKILL and oom_killed:
        return TrainingError(
            "CHILD_OOM",
            f"{training} was killed for memory {where}; raise the unit's MemoryMax or lower CLM_MAX_ROWS",
        )
    return TrainingError("CHILD_KILLED", f"{training} was killed by {name}, {where}; it can be started again")


def _last_words(path: Path) -> str:
    """Return the end of a log as printable text."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - STDERR_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    lines = text.splitlines()[-STDERR_LINES:]
    return "\n".join("".join(char if char.isprintable() else "?" for char in line) for line in lines)
