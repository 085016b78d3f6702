"""The challenger every candidate has to hold out against: logistic regression on the last step."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from clm.artefacts.job_files import TrainingArrays
from clm.domain.sample import Floats, Ints


def score_logistic(arrays: TrainingArrays) -> Floats:
    """Return P(WIN) of the test rows by a regression fitted on the training rows alone."""
    label_N = arrays.label_N[arrays.train]
    if len(np.unique(label_N)) < 2:
        return np.full(len(arrays.test), float(label_N.mean()))
    regression = LogisticRegression(max_iter=1000).fit(_last_steps(arrays, arrays.train), label_N)
    p_N: Floats = regression.predict_proba(_last_steps(arrays, arrays.test))[:, 1]
    return p_N


def _last_steps(arrays: TrainingArrays, part: Ints) -> Floats:
    return arrays.scaler.apply(arrays.last_steps(part))
