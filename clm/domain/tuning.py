"""The tuning study after a rejection: its job, its trials and its result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clm.domain.job import TrainingSpec

AS_SET = "as set"
"""The variant of the data on which the run itself was trained."""

_LEAST_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJob:
    """One study: the settings to vary, the variants of the data, and the limits."""

    run_id: str
    directory: Path
    study: str
    """Name derived from data, settings and knobs, so an interrupted study resumes."""
    storage: Path
    """SQLite file with all studies."""
    spec: TrainingSpec
    """The rejected specification."""
    knobs: tuple[str, ...]
    variants: Mapping[str, Path]
    """Directories with the question `train`, by name of the variant."""
    trials: int
    budget_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial; it never reads a test row."""

    number: int
    state: str
    """`complete`, `pruned` (worse than others at the same epoch, or timed out) or `failed`."""
    variant: str
    settings: Mapping[str, object]
    """The fields of TrainingSpec that the knobs set."""
    excess: float | None
    """Validation log loss minus that of the base rate, in nats; None if the trial failed."""
    epochs: int
    seconds: float


def with_settings(spec: TrainingSpec, settings: Mapping[str, object]) -> TrainingSpec:
    """Return the specification with a trial's settings and at least the minimum patience."""
    shown = {**asdict(spec), **settings}
    return TrainingSpec(**{**shown, "patience": max(spec.patience, _LEAST_PATIENCE)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """All trials of a run, and which of them was judged."""

    knobs: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    best: int | None = None
    """Number of the trial that became a candidate; None if there is no such trial."""
    because: str = ""
    """Why there was no trial, why the study ended early, or why the best trial is not a candidate."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Knobs and variants that could not be tried, with the reason."""
    lost: Mapping[str, object] = field(default_factory=dict)
    """Version, reasons and figures of the other candidate, which the report does not describe."""
