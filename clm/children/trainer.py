"""Train in a child process and report its epochs while they are completed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from clm.artefacts.records import RecordError, decode_line
from clm.children.ask import SubprocessAsker
from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.errors import TrainingError
from clm.ports import StopSignal
from clm.questions.question import Files
from clm.questions.train import NAME, Resumed, TrainProgress, train_question


class SubprocessTrainer:
    """Fulfils ports.Trainer."""

    def __init__(
        self,
        asker: SubprocessAsker,
        *,
        silence_s: float = 900.0,
        cpu_s: float = 0.0,
        memory_mb: int = 0,
        checkpoints: Path | None = None,
    ) -> None:
        """Keep the limits: `silence_s` is the time without a completed epoch; 0 is no limit.

        `checkpoints` is the directory in which an interrupted training is kept, to be resumed by the next one
        with the same key; None keeps nothing.
        """
        self._asker = asker
        self._silence_s = silence_s
        self._cpu_s = cpu_s
        self._memory_mb = memory_mb
        self._checkpoints = checkpoints

    def train(
        self,
        job: TrainingJob,
        dataset: Dataset,
        on_epoch: Callable[[EpochReport], None],
        stop: StopSignal,
    ) -> TrainingResult:
        """Train and return the checked result; the child is gone however this ends.

        Raises:
            TrainingError: MEMORY_BUDGET, DEVICE_ABSENT, NAN_LOSS, EXPORT_MISMATCH, and those of every child
                (clm/children/ask.py).
            ArtefactError: the job's files cannot be written.
            Interrupted: TRAINING_INTERRUPTED, `stop` was set.
        """
        job = replace(job, cpu_s=self._cpu_s, memory_mb=self._memory_mb, checkpoints=self._checkpoints)
        require_room(job, dataset)
        question = train_question(job, dataset, silence_s=self._silence_s)
        return self._asker.ask(question, job.directory, stop, Epochs(job, on_epoch))


class Epochs:
    """Reads the progress of a training as its file grows."""

    def __init__(self, job: TrainingJob, on_epoch: Callable[[EpochReport], None]) -> None:
        self._job = job
        self._path = Files(directory=job.directory, name=NAME).progress
        self._on_epoch = on_epoch
        self._read_bytes = 0
        self._epoch = 0
        self._network = ""

    def advance(self) -> bool:
        """Report the epochs that were completed since the last call, and return whether there were any.

        Raises:
            TrainingError: RESULT_INVALID.
        """
        lines = list(self._new_lines())
        for line in lines:
            try:
                news = decode_line(TrainProgress, line).news
            except RecordError as exc:
                raise TrainingError(
                    "RESULT_INVALID",
                    f"training {self._job.run_id} wrote progress that is no report of an epoch: {exc}",
                ) from exc
            self._epoch = news.epoch
            # The epochs before a resumption were reported when they were trained.
            if not isinstance(news, Resumed):
                self._network = news.network
                self._on_epoch(news)
        return bool(lines)

    def where(self) -> str:
        """Return how far the training came."""
        if not self._epoch and not self._network:
            return f"before epoch 1 of {self._job.spec.epochs} was done"
        network = f" of {self._network}" if self._network else ""
        return f"after epoch {self._epoch} of {self._job.spec.epochs}{network}"

    def _new_lines(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as progress:
            progress.seek(self._read_bytes)
            whole, ending, _ = progress.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(ending)
        yield from whole.splitlines()


BASE_MB = 650.0
"""torch, scikit-learn, and the activations of a batch of a thousand windows (benchmarks/growth.py)."""
COPIES = 6.0
"""Copies of the arrays in memory at once: as read, scaled and raw in float32, the regression's."""


def memory_needed_mb(dataset: Dataset) -> float:
    """Return the megabytes that a child takes to train on these windows; an upper estimate."""
    windows = dataset.windows
    arrays = (windows.steps_MC, windows.end_N, windows.held_NK, dataset.label_N, dataset.row_N)
    return BASE_MB + COPIES * sum(array.nbytes for array in arrays) / 1e6


def require_room(job: TrainingJob, dataset: Dataset) -> None:
    """Refuse a training that needs more than its budget.

    Raises:
        TrainingError: MEMORY_BUDGET.
    """
    needed_mb = memory_needed_mb(dataset)
    if job.memory_mb and not needed_mb <= job.memory_mb:
        raise TrainingError(
            "MEMORY_BUDGET",
            f"training {job.run_id} needs about {needed_mb:.0f} MB for {len(dataset.row_N):,} windows, and "
            f"the limit is CLM_LIMITS__MEMORY_MB={job.memory_mb}; lower CLM_HISTORY_DAYS, or raise the limit "
            "together with the unit's MemoryMax",
        )
