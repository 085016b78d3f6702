"""What the child measures by scikit-learn is what the parent measures by numpy; a difference is a fault."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.agreement import disagreements
from clm.training.figures import figures_of, measure
from tests.evaluation.builders import comparison, market, rows
from tests.training.conftest import Trained

ROWS, GOOD = market()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("digits", [17, 1])
def test_both_measure_the_same(seed: int, digits: int) -> None:
    """With and without ties, for both implementations."""
    random = np.random.default_rng(seed)
    p, q = (np.round(random.uniform(0, 1, len(ROWS)), digits) for _ in range(2))
    found = comparison(ROWS, p, p_champion_N=q, p_logistic_N=GOOD, p_trees_N=1 - q)
    answers = {"candidate": p, "champion": q, "logistic": GOOD, "trees": 1 - q}
    figures = {name: measure(ROWS.label_N, answer) for name, answer in answers.items()}
    assert disagreements(found, figures) == ()


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_is_unknown_to_both(only: int) -> None:
    """NaN agrees with NaN and with nothing else."""
    test_rows, p = rows([only] * 50), np.linspace(0.0, 0.4, 50)
    found = comparison(test_rows, p)
    figures = measure(test_rows.label_N, p)
    assert math.isnan(figures["auroc"])
    assert disagreements(found, {"candidate": figures}) == ()
    assert disagreements(found, {"candidate": {"auroc": 0.5}})


@pytest.mark.parametrize("name", ["auroc", "log_loss", "brier", "accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("off", [1e-6, math.nan])
def test_a_figure_that_is_off_is_named(name: str, off: float) -> None:
    """Which figure, of whom, and both values."""
    found = comparison(ROWS, GOOD)
    figures = {**measure(ROWS.label_N, GOOD)}
    figures[name] += off
    (told,) = disagreements(found, {"candidate": figures})
    assert told.startswith(f"{name} of the candidate is ")


def test_a_predictor_that_we_do_not_know_of_is_a_difference() -> None:
    """The child scored a champion, the parent has none."""
    assert disagreements(comparison(ROWS, GOOD), {"champion": {"auroc": 0.5}})


def test_the_child_measures_the_rows_of_the_test_part(trained: Trained) -> None:
    """As the worker does after each training."""
    label = trained.arrays.label_N[trained.arrays.test]
    figures = figures_of(trained.arrays, trained.result)
    assert set(figures) == {"candidate", "logistic", "trees"}
    assert figures["candidate"] == measure(label, trained.result.p_candidate_N)
    assert len(trained.result.p_validation_N) == len(trained.arrays.validation)
    champion = figures_of(trained.arrays, replace(trained.result, p_champion_N=np.full(len(label), 0.5)))
    assert champion["champion"]["auroc"] == 0.5
