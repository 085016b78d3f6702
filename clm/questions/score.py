"""The question `score`: what several models answer to the test rows of one data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.sample import Floats
from clm.questions.question import Limits, Question, require_probabilities
from clm.questions.train import TrainingArrays, require_plain, training_arrays

NAME = "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInputs:
    """Models, and the windows they are asked."""

    job: TrainingJob
    models: tuple[ChampionRef, ...]
    arrays: TrainingArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """P(WIN) of the test rows by each model, in the order in which they were named."""

    p_models: tuple[Floats, ...]
    p_logistic_N: Floats
    p_trees_N: Floats
    validation_by_plain: Mapping[str, Floats]
    """P(WIN) of the validation rows by plain model."""


def score_question(job: TrainingJob, models: Sequence[ChampionRef], dataset: Dataset) -> Question[Scores]:
    """Return the question whose answer is the scores of all models."""
    return Question(
        name=NAME,
        subject="scoring models",
        inputs=ScoreInputs(job=job, models=tuple(models), arrays=training_arrays(dataset)),
        limits=Limits(wall_s=job.timeout_s, threads=job.spec.threads),
        answer=Scores,
        check=partial(_checked, len(models), len(dataset.split.test), len(dataset.split.validation)),
        advice="raise CLM_LIMITS__WALL_S",
    )


def _checked(n_models: int, n_test: int, n_validation: int, scores: Scores) -> Scores:
    if len(scores.p_models) != n_models:
        raise ValueError(f"scores of {len(scores.p_models)} models, wanted {n_models}")
    for p_N in (*scores.p_models, scores.p_logistic_N):
        require_probabilities("scores", p_N, n_test)
    require_plain(scores.p_trees_N, scores.validation_by_plain, n_test, n_validation)
    return scores
