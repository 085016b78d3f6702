"""The challenger every candidate has to hold out against: logistic regression on the last step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from clm.data.scaling import Scaler, fit_scaler
from clm.domain.sample import Floats, Ints
from clm.evaluation.metrics import auroc
from clm.questions.train import TrainingArrays


def fit_logistic(scaled_NC: NDArray[Any], label_N: NDArray[Any]) -> LogisticRegression:
    """Return the regression fitted on last steps of comparable scale; both labels have to occur."""
    return LogisticRegression(max_iter=1000).fit(scaled_NC, label_N)


def score_logistic(arrays: TrainingArrays) -> Floats:
    """Return P(WIN) of the test rows by a regression fitted on the training rows alone."""
    return _score(arrays, arrays.scaler, arrays.train, arrays.test)


def score_folds(arrays: TrainingArrays) -> Sequence[Mapping[str, object]]:
    """Return the AUROC of the regression on each fold, oldest first; NaN where it cannot be told.

    How much it varies from one time to another is how little one test part says.
    """
    figures = []
    for train, test in arrays.folds:
        # A scaler of its own: that of the job knows what came after this fold.
        scaler = fit_scaler(arrays.last_steps(train), np.arange(len(train)))
        area = auroc(arrays.label_N[test], _score(arrays, scaler, train, test)) if len(train) else np.nan
        figures.append({"train": len(train), "test": len(test), "auroc": float(area)})
    return figures


def _score(arrays: TrainingArrays, scaler: Scaler, train: Ints, test: Ints) -> Floats:
    label_N = arrays.label_N[train]
    if len(np.unique(label_N)) < 2:
        return np.full(len(test), float(label_N.mean()))
    if not len(test):
        return np.empty(0)
    regression = fit_logistic(scaler.apply(arrays.last_steps(train)), label_N)
    p_N: Floats = regression.predict_proba(scaler.apply(arrays.last_steps(test)))[:, 1]
    return p_N
