"""The question `tune`: a study of other settings after a rejection."""

from dataclasses import dataclass
from functools import partial

from clm.domain.tuning import Trial, TuningJob
from clm.questions.question import Limits, Question

NAME = "tune"
_OVERTIME_S = 120.0
"""What the start of the child, and the epoch under way when the budget ends, may take in addition."""
_STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """All trials of the study so far; the child writes them again after each one."""

    trials: tuple[Trial, ...] = ()


def tune_question(job: TuningJob) -> Question[Trials]:
    """Return the question whose answer is every trial of the study."""
    return Question(
        name=NAME,
        subject=f"tuning {job.run_id}",
        inputs=job,
        limits=Limits(wall_s=job.budget_s + _OVERTIME_S, threads=max(1, job.spec.threads)),
        answer=Trials,
        check=partial(_checked, job),
        advice="raise CLM_TUNING__BUDGET_S",
    )


def _checked(job: TuningJob, found: Trials) -> Trials:
    for trial in found.trials:
        if trial.state not in _STATES or trial.variant not in job.variants:
            raise ValueError(f"trial {trial.number} is {trial.state!r} on {trial.variant!r}")
    return found
