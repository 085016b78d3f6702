"""Temperature scaling on the validation part, shrunk by its uncertainty, and folded into the output layer.

Label smoothing and overfitting distort a network's confidence. One number, fitted by log loss, corrects it
and keeps the order of all windows. The intercept is not fitted: the share of WIN varies more between periods
than a training over many periods errs. The shift that class weights cause is known and subtracted.

The validation part is one period, and the slope of the next one differs. So the slope is shrunk towards 1 by
its standard error, which is measured between stretches of the part. On months of data the slope stays as
fitted. On days of data it stays near 1, so that it cannot cost more than it gains
(docs/explanation/models.md has the comparison over walk-forward cuts).

Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017; targets of Platt, 1999;
limited translation of Efron & Morris, 1971.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from clm.domain.sample import Bytes8, Floats
from clm.training.loss import ENOUGH_SPREAD
from clm.training.predict import p_win

MIN_LOGIT_STD = 1e-6
"""Below this deviation, all logits count as equal and no slope is fitted."""
MAX_SLOPE = 20.0
STRETCHES = 10
"""Stretches of equal size, in the order of time, whose disagreement is the standard error of the slope."""
SLOPE_SPREAD = 0.25
"""Standard deviation of the slope over models and periods, which its error is weighed against."""
MAX_SHRINKAGE = 2.0
"""The slope moves towards 1 by at most so many of the errors it is weighed by: a certain slope stays."""
_STEPS = 50
_TILTS = np.geomspace(0.01, 10.0, 60)
"""Logit scales that are tried if the loss contains the spread term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """logit' = slope * logit + intercept; `remark` is the reason if the slope could not be fitted."""

    slope: float
    intercept: float
    remark: str = ""


IDENTITY = Calibration(slope=1.0, intercept=0.0)


def fit_calibration(
    logit_N: Floats, label_N: Bytes8, spread_weight: float = 0.0, prior: float = 0.0
) -> Calibration:
    """Fit the slope, 1 / temperature, by log loss against Platt's targets, which keep it finite; shrink it.

    The windows are in the order of time. `prior` is the shift of the log odds by class weights,
    ln(weight of WIN / weight of LOSS); it is subtracted. If the training used the spread term, it is part of
    this objective too: log loss alone would undo its effect.
    """
    own_N = logit_N - prior
    n_win = int(np.sum(label_N == 1))
    n_loss = len(label_N) - n_win
    if not n_win or not n_loss:
        return _uncalibrated(prior, "the validation part contains only one class: not calibrated")
    if not float(own_N.std()) > MIN_LOGIT_STD:
        return _uncalibrated(prior, "all validation windows have the same logit: not calibrated")
    target_N = np.where(label_N == 1, (n_win + 1) / (n_win + 2), 1 / (n_loss + 2))
    # Normalise the logits to size 1, so that Newton's steps do not depend on their scale.
    size = float(np.sqrt(np.mean(own_N**2)))
    unit_N = own_N / size
    if spread_weight:
        tilt = _dearest_spread(unit_N, target_N, spread_weight, MAX_SLOPE * size)
        return Calibration(
            slope=tilt / size, intercept=-prior * tilt / size, remark="fitted with the spread term"
        )
    slope = _tilt(unit_N, target_N) / size
    if not 0.0 < slope <= MAX_SLOPE:
        return _uncalibrated(
            prior, f"the fitted slope {slope:.3g} is outside (0, {MAX_SLOPE:g}]: not calibrated"
        )
    slope = shrunk(slope, slope_error(own_N, label_N, slope))
    return Calibration(slope=slope, intercept=-prior * slope)


def shrunk(slope: float, error: float) -> float:
    """Return the slope as the posterior mean under a normal prior at 1; see MAX_SHRINKAGE.

    The slope is for the next period, which deviates as much as this one: the variance counts twice.
    """
    deviation, next_error = slope - 1.0, float(np.sqrt(2.0)) * error
    reach = abs(deviation) * next_error**2 / (next_error**2 + SLOPE_SPREAD**2)
    return float(slope - np.sign(deviation) * min(reach, MAX_SHRINKAGE * next_error))


def slope_error(logit_N: Floats, label_N: Bytes8, slope: float) -> float:
    """Return the standard error of a fitted slope from the scores of stretches of time (sandwich estimator).

    Windows overlap and markets move together, so windows of one stretch count as one observation.
    """
    p_N = p_win(slope * logit_N)
    score_N, curvature = (p_N - label_N) * logit_N, float(np.sum(p_N * (1.0 - p_N) * logit_N**2))
    score_S = np.array([part_N.sum() for part_N in np.array_split(score_N, STRETCHES)])
    return float(np.sqrt(STRETCHES / (STRETCHES - 1) * np.sum(score_S**2))) / max(curvature, 1e-300)


def _uncalibrated(prior: float, remark: str) -> Calibration:
    return Calibration(slope=1.0, intercept=-prior, remark=remark)


def fold_calibration(output_proj: nn.Linear, calibration: Calibration) -> None:
    """Fold slope and intercept into the output layer; computed in float64."""
    with torch.no_grad():
        output_proj.weight.copy_(output_proj.weight.double() * calibration.slope)
        output_proj.bias.copy_(output_proj.bias.double() * calibration.slope + calibration.intercept)


def _dearest_spread(unit_N: Floats, target_N: Floats, spread_weight: float, most_tilt: float) -> float:
    """Return the tilt that minimises log loss - weight * ln(std of P(WIN)), not convex, by grid search."""

    def cost(tilt: float) -> float:
        spread = min(float(p_win(tilt * unit_N).std()), ENOUGH_SPREAD)
        return _loss(tilt * unit_N, target_N) - spread_weight * float(np.log(spread + 1e-12))

    return min((float(tilt) for tilt in _TILTS if tilt <= most_tilt), key=cost, default=most_tilt)


def _tilt(unit_N: Floats, target_N: Floats) -> float:
    """Minimise the convex log loss by Newton's method; steps are halved until the loss decreases."""
    tilt, loss = 0.0, _loss(0.0 * unit_N, target_N)
    for _ in range(_STEPS):
        p_N = p_win(tilt * unit_N)
        curvature = max(float(np.mean(p_N * (1.0 - p_N) * unit_N**2)), 1e-12)
        step = float(np.mean((p_N - target_N) * unit_N)) / curvature
        while (after := _loss((tilt - step) * unit_N, target_N)) > loss:
            step /= 2.0
            if abs(step) < 1e-9:
                return tilt
        tilt -= step
        if loss - after < 1e-14:
            return tilt
        loss = after
    return tilt


def _loss(logit_N: Floats, target_N: Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, logit_N) - target_N * logit_N))
