"""Answer the question `floor`, without torch.

Two plain models are fitted to the last step of each window: logistic regression and small boosted trees.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from clm.data.floor import Floor, Predict, measure_floor
from clm.domain.sample import Bytes8, Floats
from clm.questions.floor import FloorInputs
from clm.training.work import Work


def answer(inputs: FloorInputs, _work: Work) -> Floor:
    """Return the out-of-sample skill of both models."""
    return measure_floor(inputs.rows, MODELS, inputs.policy)


def _logistic(train_NC: Floats, label_N: Bytes8, test_NC: Floats) -> Floats:
    # Fitted on the training rows only; test rows must not move the scale.
    mean_C, std_C = train_NC.mean(axis=0), train_NC.std(axis=0)
    scale_C = np.where(std_C > 0, std_C, 1.0)
    model = LogisticRegression(max_iter=300).fit((train_NC - mean_C) / scale_C, label_N)
    return np.asarray(model.decision_function((test_NC - mean_C) / scale_C), dtype=np.float64)


def _trees(train_NC: Floats, label_N: Bytes8, test_NC: Floats) -> Floats:
    model = HistGradientBoostingClassifier(
        # Small on purpose: trees that can memorise would find patterns in noise. Early stopping would split
        # rows at random, and neighbouring rows overlap.
        max_iter=40,
        max_leaf_nodes=8,
        min_samples_leaf=50,
        early_stopping=False,
        random_state=0,
    ).fit(train_NC, label_N)
    return np.asarray(model.decision_function(test_NC), dtype=np.float64)


MODELS: Mapping[str, Predict] = {"logistic regression": _logistic, "boosted trees": _trees}
