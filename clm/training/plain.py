"""The plain models that every candidate is compared with: logistic regression and boosted trees.

Both see the last step of each window only. The validation part chooses the depth and the number of the trees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from clm.data.association import spread
from clm.data.scaling import Scaler, fit_scaler
from clm.domain.sample import Floats, Ints
from clm.evaluation.metrics import auroc, log_loss
from clm.questions.train import TrainingArrays

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

DEPTHS = (2, 3, 4)
"""Depths of a tree that are tried."""
ROUNDS = 300
"""Maximum number of trees."""
TREE_WINDOWS = 100_000
"""Maximum number of training windows, evenly spread, so that trees take seconds on a store of any size."""
CHOICE_WINDOWS = 16_384
"""Maximum number of validation windows that choose depth and rounds, evenly spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainScores:
    """P(WIN) of a plain model for the validation and the test part."""

    p_validation_N: Floats
    p_test_N: Floats
    chosen: Mapping[str, float]
    """What the validation part chose; empty if nothing was to be chosen."""


def score_plain(arrays: TrainingArrays) -> Mapping[str, PlainScores]:
    """Return the predictions of `logistic` and `trees`, both fitted on the training part only."""
    return {"logistic": score_logistic(arrays), "trees": score_trees(arrays)}


def fit_logistic(scaled_NC: NDArray[Any], label_N: NDArray[Any]) -> LogisticRegression:
    """Return a regression fitted to scaled last steps; both labels must occur."""
    return LogisticRegression(max_iter=1000).fit(scaled_NC, label_N)


def score_logistic(arrays: TrainingArrays) -> PlainScores:
    """Return the predictions of a regression fitted on the training part only."""
    both = np.concatenate([arrays.validation, arrays.test])
    p_N = _score(arrays, arrays.scaler, arrays.train, both)
    n_validation = len(arrays.validation)
    return PlainScores(p_validation_N=p_N[:n_validation], p_test_N=p_N[n_validation:], chosen={})


def score_trees(arrays: TrainingArrays) -> PlainScores:
    """Return the predictions of boosted trees whose depth and number have the lowest validation log loss.

    One thread, a fixed seed, and capped windows: the same data gives the same bits on any number of cores.
    """
    train = arrays.train[spread(len(arrays.train), TREE_WINDOWS)]
    label_N, parts = arrays.label_N[train], (arrays.validation, arrays.test)
    if len(np.unique(label_N)) < 2 or not len(arrays.validation):
        constant = [np.full(len(part), float(label_N.mean())) for part in parts]
        return PlainScores(p_validation_N=constant[0], p_test_N=constant[1], chosen={})
    from threadpoolctl import threadpool_limits  # loaded where needed, as are the trees: they take 20 MB

    with threadpool_limits(limits=1, user_api="openmp"):
        loss, rounds, depth = min(_grown(arrays, train, depth) for depth in DEPTHS)
        trees = _trees(depth, rounds).fit(arrays.last_steps(train), label_N)
        p_validation_N, p_test_N = (
            trees.predict_proba(arrays.last_steps(part))[:, 1] if len(part) else np.empty(0) for part in parts
        )
    chosen = {"depth": depth, "rounds": rounds, "validation_log_loss": loss}
    return PlainScores(p_validation_N=p_validation_N, p_test_N=p_test_N, chosen=chosen)


def _grown(arrays: TrainingArrays, train: Ints, depth: int) -> tuple[float, int, int]:
    """Return the lowest validation log loss of trees of this depth, their number, and the depth."""
    judged = arrays.validation[spread(len(arrays.validation), CHOICE_WINDOWS)]
    trees = _trees(depth, ROUNDS).fit(arrays.last_steps(train), arrays.label_N[train])
    stages = trees.staged_predict_proba(arrays.last_steps(judged))
    losses = [log_loss(arrays.label_N[judged], p_N2[:, 1]) for p_N2 in stages]
    best = int(np.argmin(losses))
    return losses[best], best + 1, depth


def _trees(depth: int, rounds: int) -> "HistGradientBoostingClassifier":
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=rounds,
        max_depth=depth,
        learning_rate=0.05,
        min_samples_leaf=100,
        early_stopping=False,
        random_state=0,
    )


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
