"""The loss."""

import math

import pytest
import torch

from clm.training.loss import class_weights, smoothed, weighted_loss


def test_a_smoothing_of_a_tenth_means_targets_of_a_twentieth() -> None:
    """ε/2 and 1 - ε/2 is the convention that specs and reports speak; ε and 1 - ε would be another loss."""
    assert smoothed(torch.tensor([0.0, 1.0]), 0.1).tolist() == pytest.approx([0.05, 0.95])


def test_class_weights_make_both_classes_weigh_the_same() -> None:
    """60 WIN of 100 must not make "always WIN" the cheapest answer."""
    label_N = torch.tensor([1.0] * 60 + [0.0] * 40)
    loss_weight, win_weight = class_weights(label_N)
    assert 40 * loss_weight == pytest.approx(60 * win_weight)
    assert 40 * loss_weight + 60 * win_weight == pytest.approx(100)


def test_one_class_alone_weighs_one() -> None:
    """A share of zero has no inverse."""
    assert class_weights(torch.ones(5)) == (1.0, 1.0)


def test_the_loss_is_the_weighted_cross_entropy_of_the_smoothed_targets() -> None:
    """Recomputed by hand for one WIN and one LOSS."""
    logit_B, label_B = torch.tensor([0.3, -1.2]), torch.tensor([1.0, 0.0])
    p, q = (1 / (1 + math.exp(-logit)) for logit in (0.3, -1.2))
    win = -(0.95 * math.log(p) + 0.05 * math.log(1 - p))
    loss = -(0.05 * math.log(q) + 0.95 * math.log(1 - q))
    got = weighted_loss(logit_B, label_B, label_smoothing=0.1, weights=(2.0, 0.5))
    assert got.item() == pytest.approx((0.5 * win + 2.0 * loss) / 2, rel=1e-6)
