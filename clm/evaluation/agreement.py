"""Compare two measurements of the same predictions: numpy in the parent, scikit-learn in the child."""

import math
from collections.abc import Mapping

from clm.evaluation.evaluation import Comparison

TOLERANCE = 1e-9
"""A different order of summation changes the last digits; a wrong row or formula changes far more."""


def disagreements(comparison: Comparison, figures: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Return one sentence for each figure that differs in the child; NaN equals only NaN."""
    measured = (comparison.candidate, comparison.champion, comparison.logistic, comparison.trees)
    ours = {evaluation.name: evaluation for evaluation in measured if evaluation}
    found = []
    for predictor, theirs in figures.items():
        for name, figure in theirs.items():
            own = getattr(ours.get(predictor), name, None)
            if own is None or not _alike(own, figure):
                found.append(f"{name} of the {predictor} is {figure!r} in the child, {own!r} in the parent")
    return tuple(found)


def _alike(own: float, figure: float) -> bool:
    both_unknown = math.isnan(own) and math.isnan(figure)
    return both_unknown or math.isclose(own, figure, rel_tol=0.0, abs_tol=TOLERANCE)
