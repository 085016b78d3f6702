"""Temperature scaling and its degenerate cases."""

import numpy as np
import pytest
import torch
from torch import nn

from clm.evaluation.metrics import log_loss_rows
from clm.training import calibrate
from clm.training.calibrate import Calibration, fit_calibration, fold_calibration, shrunk, slope_error
from clm.training.predict import p_win


def draw(n: int = 4000, *, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true log odds are slope * logit + intercept."""
    random = np.random.default_rng(5)
    logit_N = random.normal(size=n)
    label_N = (random.random(n) < p_win(slope * logit_N + intercept)).astype(np.int8)
    return logit_N, label_N


def test_the_true_slope_is_found() -> None:
    """Smoothing and overfitting move it: it has to come back."""
    fitted = fit_calibration(*draw(slope=2.0, intercept=0.0))
    assert fitted.slope == pytest.approx(2.0, abs=0.15)
    assert (fitted.intercept, fitted.remark) == (0.0, "")


def test_what_class_weights_added_to_the_level_is_taken_off() -> None:
    """Its size is known: the weights put it there."""
    logit_N, label_N = draw(slope=2.0, intercept=0.0)
    weighted = fit_calibration(logit_N + 0.7, label_N, prior=0.7)
    plain = fit_calibration(logit_N, label_N)
    assert weighted.slope == pytest.approx(plain.slope)
    assert weighted.slope * 0.7 + weighted.intercept == pytest.approx(0.0)


def test_a_stretch_in_which_more_is_won_does_not_move_the_level() -> None:
    """The validation part is one stretch of time; the next one wins as often as the whole training part."""
    logit_N, label_N = draw(slope=1.0, intercept=0.5)
    fitted = fit_calibration(logit_N, label_N)
    assert fitted.intercept == 0.0
    assert fitted.slope == pytest.approx(1.0, abs=0.2)


def test_calibration_lowers_the_log_loss() -> None:
    """Gate 5 compares log losses with the base rate's: one that is too sure loses for no reason of skill."""
    logit_N, label_N = draw(slope=0.5, intercept=0.0)
    fitted = fit_calibration(logit_N, label_N)
    p_N = p_win(fitted.slope * logit_N + fitted.intercept)
    assert log_loss_rows(label_N, p_N).mean() < log_loss_rows(label_N, p_win(logit_N)).mean() - 0.01


def test_an_order_that_is_wrong_on_validation_is_not_turned_round() -> None:
    """A negative slope would sell the opposite of what was trained as skill."""
    fitted = fit_calibration(*draw(slope=-1.0, intercept=0.3), prior=0.2)
    assert (fitted.slope, fitted.intercept) == (1.0, -0.2)
    assert "slope" in fitted.remark


def test_perfectly_separated_labels_leave_the_figures_finite() -> None:
    """Without Platt's targets the slope would grow without end, and every answer be certain."""
    logit_N = np.linspace(-1, 1, 50)
    fitted = fit_calibration(logit_N, (logit_N > 0).astype(np.int8))
    assert fitted.remark == ""
    assert 1 < fitted.slope < 15


@pytest.mark.parametrize("scale", [1e30, 1e3, 0.1])
def test_logits_of_any_size_are_calibrated(scale: float) -> None:
    """A start far from the optimum must not end the fit."""
    logit_N, label_N = draw(slope=1.0, intercept=0.0)
    fitted = fit_calibration(scale * logit_N, label_N)
    assert fitted.remark == ""
    assert fitted.slope * scale == pytest.approx(1.0, abs=0.2)


def test_a_slope_beyond_reason_is_not_applied() -> None:
    """Logits that hardly differ would be blown up from rounding noise to confidence."""
    logit_N, label_N = draw(slope=1.0, intercept=0.0)
    fitted = fit_calibration(1e-3 * logit_N, label_N)
    assert fitted.slope == 1.0
    assert "is outside" in fitted.remark


def regimes(n: int, *, stretches: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of periods in which they should be larger or smaller, and are right on average."""
    random = np.random.default_rng(seed)
    logit_N = random.normal(scale=0.5, size=n)
    slope_N = np.repeat(np.exp(random.normal(scale=spread, size=stretches)), n // stretches)
    return logit_N, (random.random(n) < p_win(slope_N * logit_N)).astype(np.int8)


def test_a_calibration_on_one_regime_does_not_hurt_the_next() -> None:
    """A slope of a few days describes these days: it must not cost on the days that follow."""
    costs = []
    for seed in range(60):
        fitted = fit_calibration(*regimes(200, stretches=10, spread=0.3, seed=seed))
        logit_N, label_N = regimes(2000, stretches=100, spread=0.3, seed=1000 + seed)
        after, before = (log_loss_rows(label_N, p_win(slope * logit_N)).mean() for slope in (fitted.slope, 1))
        costs.append(after - before)
    assert np.mean(costs) < 0.0015
    assert max(costs) < 0.01


def test_a_slope_is_shrunk_by_its_error_alone() -> None:
    """A certain slope stays, an uncertain one goes back to 1, and none crosses 1."""
    assert shrunk(1.5, 0.01) == pytest.approx(1.5, abs=0.01)
    # Error and prior weigh the same: half of the deviation is left.
    assert shrunk(1.5, 0.25 / np.sqrt(2)) == pytest.approx(1.25)
    assert 1.0 < shrunk(1.5, 1.5) < 1.05
    assert 0.95 < shrunk(0.5, 0.8) < 1.0
    assert shrunk(1.0, 0.3) == 1.0
    assert shrunk(20.0, 1.0) == pytest.approx(20.0 - 2 * np.sqrt(2))
    assert shrunk(1e-6, 1e-8) == pytest.approx(1e-6, rel=0.03)


def test_the_error_of_a_slope_is_that_of_repeated_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent windows: the spread of the fitted slope over new draws, to a quarter."""
    monkeypatch.setattr(calibrate, "shrunk", lambda slope, error: slope)
    random = np.random.default_rng(3)
    slopes, errors = [], []
    for _ in range(100):
        logit_N = random.normal(size=1000)
        label_N = (random.random(1000) < p_win(logit_N)).astype(np.int8)
        errors.append(slope_error(logit_N, label_N, 1.0))
        slopes.append(fit_calibration(logit_N, label_N).slope)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.25)


def test_windows_of_one_stretch_are_not_independent() -> None:
    """The same windows in a random order would claim to know the slope better."""
    logit_N, label_N = regimes(2000, stretches=10, spread=1.0, seed=4)
    mixed_N = np.random.default_rng(0).permutation(len(logit_N))
    slope = fit_calibration(logit_N, label_N).slope
    assert slope_error(logit_N, label_N, slope) > 1.5 * slope_error(logit_N[mixed_N], label_N[mixed_N], slope)


def test_equal_logits_are_left_equal() -> None:
    """A collapsed model stays collapsed, for the gates to see."""
    label_N = np.array([1, 1, 1, 0] * 50, dtype=np.int8)
    fitted = fit_calibration(np.full(200, 3.0), label_N)
    assert (fitted.slope, fitted.intercept) == (1.0, 0.0)
    assert "same logit" in fitted.remark


def test_one_class_is_left_alone() -> None:
    """Nothing can be learnt about the other class."""
    fitted = fit_calibration(np.array([0.1, 0.2]), np.ones(2, dtype=np.int8))
    assert (fitted.slope, fitted.intercept) == (1.0, 0.0)
    assert "one class" in fitted.remark


def test_the_fold_is_the_calibration() -> None:
    """Served is the folded layer, so it has to give slope * logit + intercept."""
    layer, h_BD = nn.Linear(16, 1), torch.randn(5, 16)
    before = layer(h_BD).detach()
    fold_calibration(layer, Calibration(slope=1.7, intercept=-0.2))
    torch.testing.assert_close(layer(h_BD), 1.7 * before - 0.2, atol=1e-6, rtol=0)
