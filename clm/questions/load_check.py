"""The question `load_check`: what a fresh process finds when it loads a served file and asks it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clm.domain.figure import Figure
from clm.domain.proof import GoldenRows, Route, ServingProof
from clm.questions.question import Limits, Question

NAME = "load_check"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofJob:
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

    job: ProofJob
    golden: GoldenRows


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheck:
    """A ServingProof without the golden rows, which are the parent's own."""

    sha256: str
    """Of the bytes that were loaded."""
    size_bytes: int
    weights_finite: bool
    routes: tuple[Route, ...]
    predictions: int
    p50_ms: Figure
    p99_ms: Figure
    p99_wall_ms: Figure

    def proof(self, golden: GoldenRows) -> ServingProof:
        """Return the answer together with the rows that were asked."""
        return ServingProof(
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            weights_finite=self.weights_finite,
            golden=golden,
            routes=self.routes,
            predictions=self.predictions,
            p50_ms=self.p50_ms,
            p99_ms=self.p99_ms,
            p99_wall_ms=self.p99_wall_ms,
        )


def load_check_question(job: ProofJob, golden: GoldenRows) -> Question[LoadCheck]:
    """Return the question; it is asked on one thread, as gate 10 (budget) requires."""
    return Question(
        name=NAME,
        subject=f"loading {job.weights_path}",
        inputs=LoadCheckInputs(job=job, golden=golden),
        limits=Limits(wall_s=job.timeout_s),
        answer=LoadCheck,
        check=partial(_checked, job),
        advice="check whether the machine is overloaded, or raise CLM_TRAIN_TIMEOUT_S",
    )


def _checked(job: ProofJob, found: LoadCheck) -> LoadCheck:
    if found.sha256 != job.sha256:
        raise ValueError(f"it is about sha256 {found.sha256[:12]}…, asked was {job.sha256[:12]}…")
    return found
