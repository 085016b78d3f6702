"""Figures agree with an independent implementation, and undetermined figures are NaN."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from clm.domain.sample import Bytes8, Floats
from clm.evaluation import metrics

FIGURES: tuple[Callable[[Bytes8, Floats], float], ...] = (
    metrics.auroc,
    metrics.log_loss,
    metrics.brier,
    metrics.ece,
)
COUNTED = (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1)


def sample(seed: int, *, n: int = 997, digits: int = 17) -> tuple[Bytes8, Floats]:
    """Return labels and correlated P(WIN); few digits cause ties."""
    random = np.random.default_rng(seed)
    p = np.round(random.uniform(0.05, 0.95, n), digits)
    return (random.random(n) < p).astype(np.int8), p


@pytest.mark.parametrize("digits", [17, 1])
@pytest.mark.parametrize("seed", range(3))
class TestAgainstScikitLearn:
    """scikit-learn returns the same figures, with ties and without."""

    def test_auroc(self, seed: int, digits: int) -> None:
        label, p = sample(seed, digits=digits)
        assert metrics.auroc(label, p) == pytest.approx(reference.roc_auc_score(label, p), abs=1e-12)

    def test_log_loss(self, seed: int, digits: int) -> None:
        label, p = sample(seed, digits=digits)
        assert metrics.log_loss(label, p) == pytest.approx(reference.log_loss(label, p), abs=1e-12)

    def test_brier(self, seed: int, digits: int) -> None:
        label, p = sample(seed, digits=digits)
        assert metrics.brier(label, p) == pytest.approx(reference.brier_score_loss(label, p), abs=1e-12)

    def test_counted_figures(self, seed: int, digits: int) -> None:
        label, p = sample(seed, digits=digits)
        counts, predicted = metrics.confusion(label, p), p >= 0.5
        assert metrics.accuracy(counts) == pytest.approx(reference.accuracy_score(label, predicted))
        assert metrics.precision(counts) == pytest.approx(reference.precision_score(label, predicted))
        assert metrics.recall(counts) == pytest.approx(reference.recall_score(label, predicted))
        assert metrics.f1(counts) == pytest.approx(reference.f1_score(label, predicted))
        negative, positive = reference.confusion_matrix(label, predicted)
        assert [counts["true_negative"], counts["false_positive"]] == negative.tolist()
        assert [counts["false_negative"], counts["true_positive"]] == positive.tolist()

    def test_calibration_error(self, seed: int, digits: int) -> None:
        label, p = sample(seed, digits=digits)
        observed, predicted = calibration_curve(label, p, n_bins=10, strategy="quantile")
        edges = np.quantile(p, np.linspace(0, 1, 11))
        size = np.bincount(np.searchsorted(edges[1:-1], p), minlength=10)
        expected = np.sum(np.abs(observed - predicted) * size[size > 0]) / len(p)
        assert metrics.ece(label, p) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_ranking_is_1_and_its_reverse_0() -> None:
    """AUROC is the probability that a WIN row scores above a LOSS row."""
    label, p = np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.2, 0.3, 0.4])
    assert (metrics.auroc(label, p), metrics.auroc(label, 1 - p)) == (1.0, 0.0)


def test_one_score_for_every_row_has_an_auroc_of_one_half() -> None:
    """Ties count half, so a collapsed model equals chance in any order of the rows."""
    assert metrics.auroc(np.array([1, 1, 0, 1, 0], np.int8), np.full(5, 0.615)) == 0.5


def test_rows_of_equal_score_share_a_calibration_bin() -> None:
    """A constant equal to the base rate is calibrated; bins by row order would show an error."""
    label = np.array([1] * 50 + [0] * 50, np.int8)
    assert metrics.ece(label, np.full(100, 0.5)) == 0.0


def test_a_certain_error_costs_27_nats_and_not_infinity() -> None:
    """A single row must not make the mean infinite."""
    loss = metrics.log_loss(np.array([1, 0], np.int8), np.array([0.0, 1.0]))
    assert loss == pytest.approx(-math.log(metrics.CLIP), rel=1e-3)


def test_actions_are_read_as_the_engine_reads_them() -> None:
    """Exactly 0.6 and 0.4 are HOLD."""
    shares = metrics.action_shares(np.array([0.6, 0.4, 0.61, 0.39, 0.5]))
    assert shares == {"BUY": 0.2, "SELL": 0.2, "HOLD": pytest.approx(0.6)}


def test_the_spread_of_confidence_is_that_of_numpy() -> None:
    """P10-P90 is the distance between two percentiles."""
    _, p = sample(4)
    statistics = metrics.confidence_statistics(p)
    assert (statistics.mean, statistics.std) == (p.mean(), p.std())
    assert statistics.p10_p90 == pytest.approx(np.percentile(p, 90) - np.percentile(p, 10))
    assert (statistics.min, statistics.max, statistics.unique_values) == (p.min(), p.max(), len(set(p)))


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -0.001, 1.001])
def test_one_row_without_a_probability_makes_every_figure_unknown(spoilt: float) -> None:
    """A mean over the valid rows would hide that the model cannot be served."""
    label, p = sample(5)
    p[7] = spoilt
    counts = metrics.confusion(label, p)
    assert counts == {}
    assert all(math.isnan(figure(label, p)) for figure in FIGURES)
    assert all(math.isnan(figure(counts)) for figure in COUNTED)
    assert all(math.isnan(share) for share in metrics.action_shares(p).values())
    assert math.isnan(metrics.confidence_statistics(p).std)


def test_no_rows_make_every_figure_unknown() -> None:
    """A figure that was not measured is NaN, not zero."""
    label, p = np.zeros(0, np.int8), np.zeros(0)
    assert all(math.isnan(figure(label, p)) for figure in FIGURES)
    assert all(math.isnan(figure(metrics.confusion(label, p))) for figure in COUNTED)
    assert all(math.isnan(share) for share in metrics.action_shares(p).values())


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_has_no_auroc(only: int) -> None:
    """AUROC needs a pair of rows to rank; the losses are still defined."""
    label, p = np.full(5, only, np.int8), np.linspace(0.1, 0.9, 5)
    assert math.isnan(metrics.auroc(label, p))
    assert math.isfinite(metrics.log_loss(label, p))


def test_without_predicted_wins_there_is_no_precision() -> None:
    """0 of 0 is unknown, and 0 in a report would mislead readers."""
    counts = metrics.confusion(np.array([1, 0], np.int8), np.array([0.1, 0.2]))
    assert math.isnan(metrics.precision(counts))
    assert metrics.recall(counts) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=40))
def test_figures_of_probabilities_stay_in_their_range(rows: list[tuple[int, float]]) -> None:
    """A known share is between 0 and 1, and no input raises."""
    label = np.array([label for label, _ in rows], np.int8)
    p = np.array([p for _, p in rows], np.float64)
    counts = metrics.confusion(label, p)
    shares = [metrics.auroc(label, p), metrics.brier(label, p), metrics.ece(label, p)]
    shares += [figure(counts) for figure in COUNTED]
    assert all(math.isnan(share) or -1e-12 <= share <= 1 + 1e-12 for share in shares)
    assert sum(counts.values()) == len(rows)
