"""The baseline for every candidate: logistic regression on the last step of the window."""

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
    """Return a regression fitted to scaled last steps; both labels must occur."""
    return LogisticRegression(max_iter=1000).fit(scaled_NC, label_N)


def score_logistic(arrays: TrainingArrays) -> Floats:
    """Return P(WIN) of the test rows from a regression fitted on the training rows only."""
    return _score(arrays, arrays.scaler, arrays.train, arrays.test)


def score_folds(arrays: TrainingArrays) -> Sequence[Mapping[str, object]]:
    """Return the AUROC of the regression on each fold, oldest first; NaN if it is undefined.

    The variation between folds shows how uncertain the figure of a single test part is.
    """
    figures = []
    for train, test in arrays.folds:
        # Fit a scaler per fold: the job's scaler has seen rows that are later than this fold.
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
