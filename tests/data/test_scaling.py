"""Standardisation."""

import numpy as np

from clm.data.scaling import fit_scaler
from tests.data.rows import dataset_of, simulated_rows


def test_training_rows_come_out_with_mean_0_and_spread_1():
    """Features of very different scale otherwise drown each other."""
    rng = np.random.default_rng(3)
    features_RC = rng.normal([50, 1e-3, 2e5], [10, 1e-4, 3e4], (500, 3))
    row_N = np.arange(300)

    scaled_RC = fit_scaler(features_RC, row_N).apply(features_RC[row_N])

    np.testing.assert_allclose(scaled_RC.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled_RC.std(axis=0), 1, atol=1e-9)


def test_a_constant_feature_is_left_at_scale_1():
    """Rounding makes the spread of a constant 1e-17, not 0; dividing by that would be dividing by noise."""
    features_RC = np.column_stack([np.full(1000, 0.1), np.full(1000, 1e6), np.linspace(0, 1, 1000)])

    scaler = fit_scaler(features_RC, np.arange(1000))

    assert scaler.scale_C[:2].tolist() == [1.0, 1.0]
    assert scaler.scale_C[2] < 1
    assert np.abs(scaler.apply(features_RC)[:, :2]).max() < 1e-6


def test_each_row_counts_once():
    """Overlapping windows show a row many times; that makes it no more frequent in the market."""
    features_RC = np.array([[0.0], [2.0], [7.0]])

    assert fit_scaler(features_RC, np.array([0, 0, 0, 1])).mean_C.tolist() == [1.0]


def test_no_rows_scale_nothing():
    """An empty training part is for the audits to judge."""
    scaler = fit_scaler(np.empty((0, 2)), np.array([], dtype=np.int64))

    assert scaler.mean_C.tolist() == [0, 0]
    assert scaler.scale_C.tolist() == [1, 1]


def test_nothing_after_the_training_part_moves_the_scaler():
    """A scaler fitted on the test part leaks it into the model."""
    dataset = dataset_of(simulated_rows())
    features_RC = dataset.table.features_RC.copy()
    late_R = dataset.table.decided_at_R >= dataset.split.validation_starts_at
    assert late_R.any()
    features_RC[late_R] += 1e6

    again = fit_scaler(features_RC, dataset.row_N[dataset.split.train])

    np.testing.assert_array_equal(again.mean_C, dataset.scaler.mean_C)
    np.testing.assert_array_equal(again.scale_C, dataset.scaler.scale_C)
