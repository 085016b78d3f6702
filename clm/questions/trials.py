"""The question `trials`: trainings of one batch of a study, shared out among processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import write_record
from clm.domain.job import TrainingSpec
from clm.questions.question import Files, Limits

NAME = "trials"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """One training of the batch."""

    variant: str
    spec: TrainingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsJob:
    """A batch; everything that may end a trial early is fixed before the batch begins."""

    directory: Path
    variants: Mapping[str, Path]
    """Directories with the question `train`, by name of the variant."""
    batch: tuple[TrialRequest, ...]
    bars: Mapping[str, float]
    """Excess at which a trial is pruned, by epoch; none for the epochs that are not listed."""
    ends_at: float
    """Reading of the machine's monotonic clock at which every trial is pruned, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """How one training went."""

    state: str
    """`complete`, `pruned` or `failed`, as in `domain.tuning.Trial`."""
    epochs: tuple[int, ...]
    excess: tuple[float, ...]
    """Validation log loss minus that of the base rate after each of the epochs, in nats."""
    seconds: float


def write_trials(job: TrialsJob) -> None:
    """Write the question into an empty directory; limits are inherited from the process that asks.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    files = Files(directory=job.directory, name=NAME)
    write_record(files.limits, Limits(wall_s=0.0))
    write_record(files.inputs, job)
