"""Platt scaling on the validation part, folded into the output layer.

Class weights and label smoothing distort probabilities on purpose; a slope a > 0 and an intercept b
fitted by log loss bring them back without changing the order of any two windows.
Platt, "Probabilistic outputs for support vector machines", 1999; Guo et al., ICML 2017.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from clm.domain.sample import Bytes8, Floats
from clm.training.loss import ENOUGH_SPREAD
from clm.training.predict import p_win

MIN_LOGIT_STD = 1e-6
"""Below it all windows have the same logit, and no slope can be told."""
MAX_SLOPE = 20.0
_STEPS = 50
_TILTS = np.geomspace(0.01, 10.0, 60)
"""Standard deviations of the logit that are tried where spread is paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """logit' = slope * logit + intercept; `remark` says where the slope could not be fitted."""

    slope: float
    intercept: float
    remark: str = ""


IDENTITY = Calibration(slope=1.0, intercept=0.0)


def fit_calibration(logit_N: Floats, label_N: Bytes8, spread_weight: float = 0.0) -> Calibration:
    """Fit slope and intercept by log loss against Platt's targets, which keep both finite.

    Where the training paid for spread, the same term is part of what is minimised here: log loss alone would
    at once take back what the term bought.
    """
    n_win = int(np.sum(label_N == 1))
    n_loss = len(label_N) - n_win
    if not n_win or not n_loss:
        return Calibration(slope=1.0, intercept=0.0, remark="validation holds one class only: not calibrated")
    target_N = np.where(label_N == 1, (n_win + 1) / (n_win + 2), 1 / (n_loss + 2))
    mean, std = float(logit_N.mean()), float(logit_N.std())
    if std > MIN_LOGIT_STD:
        # Fitted on standardised logits: Newton's steps then do not depend on their size.
        standard_N = (logit_N - mean) / std
        if spread_weight:
            tilt, level = _dearest_spread(standard_N, target_N, spread_weight, MAX_SLOPE * std)
            slope = tilt / std
            return Calibration(slope=slope, intercept=level - slope * mean, remark="fitted to pay for spread")
        design_NK = np.stack([standard_N, np.ones_like(logit_N)], axis=1)
        tilt, level = _newton(design_NK, target_N)
        slope = float(tilt) / std
        if 0.0 < slope <= MAX_SLOPE:
            return Calibration(slope=slope, intercept=float(level) - slope * mean)
        remark = (
            f"the fitted slope {slope:.3g} lies outside (0, {MAX_SLOPE:g}]: only the intercept was fitted"
        )
    else:
        remark = "all validation windows have the same logit: only the intercept was fitted"
    (intercept,) = _newton(np.ones((len(logit_N), 1)), target_N, offset_N=logit_N)
    return Calibration(slope=1.0, intercept=float(intercept), remark=remark)


def fold_calibration(output_proj: nn.Linear, calibration: Calibration) -> None:
    """Multiply slope and intercept into the output layer, in float64."""
    with torch.no_grad():
        output_proj.weight.copy_(output_proj.weight.double() * calibration.slope)
        output_proj.bias.copy_(output_proj.bias.double() * calibration.slope + calibration.intercept)


def _dearest_spread(
    standard_N: Floats, target_N: Floats, spread_weight: float, most_tilt: float
) -> tuple[float, float]:
    """Return the tilt of least log loss - weight * ln(std of P(WIN)), which is not convex, from a grid."""
    found = []
    for tilt in _TILTS[most_tilt >= _TILTS] if most_tilt >= _TILTS[0] else np.array([most_tilt]):
        offset_N = tilt * standard_N
        (level,) = _newton(np.ones((len(standard_N), 1)), target_N, offset_N=offset_N)
        logit_N = offset_N + level
        cost = _loss(logit_N, target_N) - spread_weight * float(
            np.log(min(p_win(logit_N).std(), ENOUGH_SPREAD) + 1e-12)
        )
        found.append((cost, float(tilt), float(level)))
    _, tilt, level = min(found)
    return tilt, level


def _newton(design_NK: Floats, target_N: Floats, offset_N: Floats | float = 0.0) -> Floats:
    """Minimise the log loss, which is convex, by Newton steps that are halved until they help."""
    beta_K = np.zeros(design_NK.shape[1])
    loss = _loss(design_NK @ beta_K + offset_N, target_N)
    for _ in range(_STEPS):
        p_N = p_win(design_NK @ beta_K + offset_N)
        gradient_K = design_NK.T @ (p_N - target_N)
        curvature_N = np.maximum(p_N * (1.0 - p_N), 1e-12)
        step_K = np.linalg.lstsq(design_NK.T @ (design_NK * curvature_N[:, None]), gradient_K, rcond=None)[0]
        stride = 1.0
        while (after := _loss(design_NK @ (beta_K - stride * step_K) + offset_N, target_N)) > loss:
            stride /= 2.0
            if stride < 1e-6:
                return beta_K
        beta_K = beta_K - stride * step_K
        if loss - after < 1e-12:
            return beta_K
        loss = after
    return beta_K


def _loss(logit_N: Floats, target_N: Floats) -> float:
    return float(np.mean(np.logaddexp(0.0, logit_N) - target_N * logit_N))
