"""The question `load_check`: what a fresh process finds when it loads a served file and asks it."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clm.domain.load_check import GoldenRows, LoadCheck
from clm.questions.question import Limits, Question

NAME = "load_check"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheckJob:
    """Which file is to be loaded, as what, and in which directory the question is asked."""

    directory: Path
    weights_path: Path
    sha256: str
    architecture: str
    context_length: int
    n_features: int
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheckInputs:
    """A file, and the rows it is asked."""

    job: LoadCheckJob
    golden: GoldenRows


def load_check_question(job: LoadCheckJob, golden: GoldenRows) -> Question[LoadCheck]:
    """Return the question; it is asked on one thread, as gate 10 (budget) requires."""
    return Question(
        name=NAME,
        subject=f"loading {job.weights_path}",
        inputs=LoadCheckInputs(job=job, golden=golden),
        limits=Limits(wall_s=job.timeout_s),
        answer=LoadCheck,
        check=partial(_checked, job, golden),
        advice="check whether the machine is overloaded, or raise CLM_LIMITS__WALL_S",
    )


def _checked(job: LoadCheckJob, golden: GoldenRows, found: LoadCheck) -> LoadCheck:
    """Refuse an answer about another file, and take the parent's own rows instead of the child's."""
    if found.sha256 != job.sha256:
        raise ValueError(f"it is about sha256 {found.sha256[:12]}…, asked was {job.sha256[:12]}…")
    return replace(found, golden=golden)
