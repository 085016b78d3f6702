"""The question `measure`: figures of a trained network and its data, for the probes of a rejected run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clm.domain.job import TrainingJob
from clm.domain.measurement import MEASURED, Measurement
from clm.questions.question import Limits, Question

NAME = "measure"
_OVERTIME_S = 60.0
"""What the start of the child, and the measurement under way when the budget ends, may take in addition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureInputs:
    """A trained job: its directory holds its question, its answer and its weights."""

    directory: Path
    budget_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """Measurements by name; the child writes them again after each one."""

    by_name: Mapping[str, Measurement] = field(default_factory=dict)


def measure_question(job: TrainingJob, *, budget_s: float) -> Question[Measurements]:
    """Return the question; it is asked in the directory of the job."""
    return Question(
        name=NAME,
        subject=f"measuring {job.run_id}",
        inputs=MeasureInputs(directory=job.directory, budget_s=budget_s),
        limits=Limits(wall_s=budget_s + _OVERTIME_S, threads=max(1, job.spec.threads)),
        answer=Measurements,
        check=_checked,
        advice="raise CLM_DIAGNOSIS__BUDGET_S",
    )


def _checked(found: Measurements) -> Measurements:
    if unknown := set(found.by_name) - set(MEASURED):
        raise ValueError(f"it has unknown measurements: {', '.join(sorted(unknown))}")
    return found
