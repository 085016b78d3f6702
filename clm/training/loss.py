"""Binary cross-entropy with label smoothing and class weights."""

import math

import torch
from torch import Tensor
from torch.nn import functional

ENOUGH_SPREAD = 0.2
"""Deviation of P(WIN) up to which the spread term rewards spread; gate 2 requires a quarter of it."""
_LEAST_VARIANCE = 1e-6
"""Keeps the gradient finite if all predictions are equal."""


def smoothed(label_B: Tensor, label_smoothing: float) -> Tensor:
    """Return targets ε/2 and 1 - ε/2: ε = 0.1 gives 0.05 and 0.95."""
    return label_B * (1.0 - label_smoothing) + label_smoothing / 2.0


def class_weights(label_N: Tensor) -> tuple[float, float]:
    """Return the weights of LOSS and WIN that give both classes the same total; the mean over rows is 1."""
    n_win = int(label_N.sum())
    n_loss = len(label_N) - n_win
    if not n_win or not n_loss:
        return 1.0, 1.0
    return len(label_N) / (2.0 * n_loss), len(label_N) / (2.0 * n_win)


def prior_shift(weights: tuple[float, float]) -> float:
    """Return the shift of the learned log odds by these weights of LOSS and WIN."""
    return math.log(weights[1] / weights[0])


def spread_term(logit_B: Tensor) -> Tensor:
    """Return -ln of the standard deviation of P(WIN) in a batch: a penalty for narrow predictions.

    It rewards spread whether the predictions are right or wrong. It adds no skill, which the gates check.
    Beyond ENOUGH_SPREAD there is no reward, so that predictions do not end at 0 and 1.
    """
    # The biased variance: a batch of one row then gives 0 and not NaN.
    variance = torch.sigmoid(logit_B).var(correction=0).clamp(max=ENOUGH_SPREAD**2)
    return -0.5 * torch.log(variance + _LEAST_VARIANCE)


def weighted_loss(
    logit_B: Tensor, label_B: Tensor, *, label_smoothing: float, weights: tuple[float, float]
) -> Tensor:
    """Return the mean loss of a batch in nats."""
    weight_B = torch.where(label_B > 0.5, weights[1], weights[0])
    return functional.binary_cross_entropy_with_logits(
        logit_B, smoothed(label_B, label_smoothing), weight=weight_B
    )
