"""Answer the question `score`.

Each file is read as data (`weights_only`), with or without the `model_state_dict` wrapper. It predicts the
test rows from raw windows, as in the engine.
"""

from clm.errors import TrainingError
from clm.questions.score import ScoreInputs, Scores
from clm.training.champion import score_champion
from clm.training.determinism import make_deterministic
from clm.training.plain import score_plain
from clm.training.work import Work


def answer(inputs: ScoreInputs, _work: Work) -> Scores:
    """Return each model's P(WIN) of the test rows."""
    return score(inputs)


def score(inputs: ScoreInputs) -> Scores:
    """Return each model's P(WIN) of the test rows.

    Raises:
        TrainingError: NOT_SCORED, a model cannot be scored; the message gives the reason.
    """
    job, arrays = inputs.job, inputs.arrays
    make_deterministic(job.spec.seed, job.spec.threads)
    found = []
    for model in inputs.models:
        scores = score_champion(model, job.feature_names, arrays, job.context_length)
        if scores.p_N is None:
            raise TrainingError("NOT_SCORED", scores.absent_because.removeprefix("champion "))
        found.append(scores.p_N)
    plain = score_plain(arrays)
    return Scores(
        p_models=tuple(found),
        p_logistic_N=plain["logistic"].p_test_N,
        p_trees_N=plain["trees"].p_test_N,
        validation_by_plain={name: scored.p_validation_N for name, scored in plain.items()},
    )
