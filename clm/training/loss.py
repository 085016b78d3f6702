"""Binary cross-entropy with label smoothing and class weights."""

import math

import torch
from torch import Tensor
from torch.nn import functional

ENOUGH_SPREAD = 0.2
"""Standard deviation of P(WIN); gate 2 asks for a quarter of it."""
_LEAST_VARIANCE = 1e-6
"""Keeps the gradient finite where all answers are the same."""


def smoothed(label_B: Tensor, label_smoothing: float) -> Tensor:
    """Return targets ε/2 and 1 - ε/2: ε = 0.1 gives 0.05 and 0.95."""
    return label_B * (1.0 - label_smoothing) + label_smoothing / 2.0


def class_weights(label_N: Tensor) -> tuple[float, float]:
    """Return the weights of LOSS and WIN that make both weigh the same, 1 on average over the rows."""
    n_win = int(label_N.sum())
    n_loss = len(label_N) - n_win
    if not n_win or not n_loss:
        return 1.0, 1.0
    return len(label_N) / (2.0 * n_loss), len(label_N) / (2.0 * n_win)


def prior_shift(weights: tuple[float, float]) -> float:
    """Return what these weights of LOSS and WIN add to the log odds that are learnt."""
    return math.log(weights[1] / weights[0])


def spread_term(logit_B: Tensor) -> Tensor:
    """Return -ln of the standard deviation of P(WIN) in a batch: the narrower the answers, the dearer.

    It pays for spread alone, right or wrong: what it buys is no skill, and the gates are to see that. Beyond
    ENOUGH_SPREAD it pays no more, so that answers do not end at 0 and 1.
    """
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
