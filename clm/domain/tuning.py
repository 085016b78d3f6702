"""What the ladder of tries is asked for after a rejection, and what it answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clm.domain.job import TrainingSpec

AS_SET = "as set"
"""The variant of the data that the run itself was trained on."""

_LEAST_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJob:
    """One study: which knobs may be turned, on which variants of the data, for how long."""

    run_id: str
    directory: Path
    study: str
    """The same data, settings and knobs have the same name: a study that was interrupted goes on."""
    storage: Path
    """SQLite file of all studies."""
    spec: TrainingSpec
    """What was rejected."""
    knobs: tuple[str, ...]
    variants: Mapping[str, Path]
    """By name, directories that hold the question `train`."""
    trials: int
    budget_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One try; it never sees a test row."""

    number: int
    state: str
    """`complete`, `pruned` (worse than others at the same epoch, or out of time) or `failed`."""
    variant: str
    settings: Mapping[str, object]
    """The fields of TrainingSpec that the knobs set."""
    excess: float | None
    """Validation log loss less that of the base rate there, in nats; None where the try failed."""
    epochs: int
    seconds: float


def with_settings(spec: TrainingSpec, settings: Mapping[str, object]) -> TrainingSpec:
    """Return the specification with a try's settings, patient enough to see what they do."""
    shown = {**asdict(spec), **settings}
    return TrainingSpec(**{**shown, "patience": max(spec.patience, _LEAST_PATIENCE)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """All tries of a run, and the one that was judged."""

    knobs: tuple[str, ...] = ()
    trials: tuple[Trial, ...] = ()
    best: int | None = None
    """Number of the try that became a candidate; None where none did."""
    because: str = ""
    """Why there was no try, why it ended early, or why the best one is no candidate."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Knobs and variants that could not be turned, with the reason."""
    lost: Mapping[str, object] = field(default_factory=dict)
    """Of the candidate that lost its place in the report: version, reasons and figures."""
