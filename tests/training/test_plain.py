"""The logistic-regression challenger."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clm.evaluation.metrics import auroc
from clm.training.plain import score_logistic
from tests.training import jobs


def test_it_finds_what_lies_in_the_last_step(tmp_path: Path) -> None:
    """A challenger that is no good makes every candidate look good."""
    dataset = jobs.dataset()
    p_N = score_logistic(jobs.arrays(dataset, tmp_path))
    assert auroc(dataset.label_N[dataset.split.test], p_N) > 0.8


def test_it_is_fitted_on_the_training_part_alone(tmp_path: Path) -> None:
    """Labels of validation and test must not reach it."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    wanted = score_logistic(arrays)
    for part in (arrays.validation, arrays.test):
        arrays.label_N[part] = 1 - arrays.label_N[part]
    np.testing.assert_array_equal(score_logistic(arrays), wanted)


def test_one_class_in_training_gives_its_share(tmp_path: Path) -> None:
    """There is nothing to regress on."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    only_wins = replace(arrays, label_N=np.ones_like(arrays.label_N))
    assert score_logistic(only_wins) == pytest.approx(np.ones(len(arrays.test)))
