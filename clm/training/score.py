"""Answers the question `score`.

Every file is read as data (`weights_only`), wrapped as `model_state_dict` or bare, and is asked for the test
rows from raw windows, as the engine would ask it.
"""

from clm.errors import TrainingError
from clm.questions.score import ScoreInputs, Scores
from clm.training.champion import score_champion
from clm.training.determinism import make_deterministic
from clm.training.logistic import score_logistic
from clm.training.work import Work


def answer(inputs: ScoreInputs, _work: Work) -> Scores:
    """Return what each model answers to the test rows."""
    return score(inputs)


def score(inputs: ScoreInputs) -> Scores:
    """Return what each model answers to the test rows.

    Raises:
        TrainingError: NOT_SCORED, a model cannot be scored, and why.
    """
    job, arrays = inputs.job, inputs.arrays
    make_deterministic(job.spec.seed, job.spec.threads)
    found = []
    for model in inputs.models:
        scores = score_champion(model, job.feature_names, arrays, job.context_length)
        if scores.p_N is None:
            raise TrainingError("NOT_SCORED", scores.absent_because.removeprefix("champion "))
        found.append(scores.p_N)
    return Scores(p_models=tuple(found), p_logistic_N=score_logistic(arrays))
