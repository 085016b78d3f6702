"""Rank statistics, held against plain definitions."""

import numpy as np
import pytest

from clm.data.association import auroc, correlations, midranks, rank_correlation, spread

RNG = np.random.default_rng(5)


def test_equal_values_share_their_rank():
    """Ties must not favour the row that comes first in the table."""
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_auroc_is_the_share_of_pairs_in_order():
    """Ties count one half."""
    score, positive = RNG.integers(0, 5, 60).astype(float), RNG.random(60) < 0.4
    pairs = [(p > n) + (p == n) / 2 for p in score[positive] for n in score[~positive]]

    assert auroc(score, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(score, np.zeros(60, dtype=bool)))


def test_a_rank_correlation_does_not_see_the_scale():
    """One outlier must not make or hide a leak."""
    a = RNG.normal(size=200)
    b = a + RNG.normal(size=200)
    spiked = np.exp(5 * b)

    assert rank_correlation(a, b) == pytest.approx(rank_correlation(a, spiked))
    assert rank_correlation(a, np.ones(200)) == 0.0
    assert rank_correlation(a, -a) == pytest.approx(-1.0)


def test_correlations_are_those_of_numpy_and_0_for_a_column_that_stands_still():
    """A division by no variance gives no number."""
    columns = np.column_stack([RNG.normal(size=(50, 3)), np.full(50, 7.0)])

    np.testing.assert_allclose(correlations(columns)[:3, :3], np.corrcoef(columns[:, :3].T))
    assert correlations(columns)[3].tolist() == [0.0] * 4


def test_rows_are_thinned_out_evenly():
    """The first and the last stay: the ends of a history are what differs."""
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    thin = spread(1001, 11)
    assert thin.tolist() == list(range(0, 1001, 100))
