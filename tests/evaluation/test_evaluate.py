"""Every predictor is measured on the same rows, with the differences between them."""

import math

import numpy as np
import pytest

from clm.data.dataset import build_dataset
from clm.data.reading import parse_samples
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.evaluate import better_plain, compare, evaluate_one, rows_of
from clm.evaluation.predictions import Answers, ScoredRows
from tests import builders
from tests.evaluation.builders import POLICY, comparison, market, rows, with_market_return


def test_the_test_rows_are_those_of_the_split_in_its_order() -> None:
    """The child stores its predictions in that order. A shift of one row would make every figure noise."""
    table = parse_samples(builders.raw_samples(), cutoff=builders.NOW, features=())
    dataset = build_dataset(table, builders.data_policy())
    found = rows_of(dataset)
    assert len(found) == len(dataset.split.test) > 0
    for n, window in enumerate(dataset.split.test):
        row = dataset.row_N[window]
        assert found.sample_id_N[n] == table.sample_id_R[row]
        assert found.symbols[found.symbol_N[n]] == table.symbols[table.symbol_R[row]]
        assert (found.label_N[n] == 1) == (table.outcome_R[row] == 1)
        assert found.market_return_N[n] == table.market_return_R[row]
    assert np.all(np.diff(found.decided_at_N) >= 0)
    assert np.all(found.resolved_at_N > found.decided_at_N)


def test_candidate_champion_and_baselines_are_scored_on_the_same_rows() -> None:
    """Figures on different rows are not comparable."""
    test_rows, p = market()
    found = comparison(test_rows, p, p_champion_N=1 - p)
    assert found.champion is not None
    assert {e.n for e in (found.candidate, found.champion, found.base_rate, found.logistic)} == {1800}
    assert [e.name for e in (found.candidate, found.champion, found.base_rate, found.logistic)] == [
        "candidate",
        "champion",
        "base_rate",
        "logistic",
    ]


def test_the_base_rate_predicts_the_training_share_for_every_row() -> None:
    """Its log loss is the cost of a prediction that knows only the base rate."""
    found = comparison(rows([1, 1, 1, 0]), np.full(4, 0.5), base_rate=0.75)
    assert found.base_rate.log_loss == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)
    assert found.base_rate.auroc == 0.5


def test_an_identical_champion_differs_by_exactly_zero() -> None:
    """Rounding must not turn it into a gain."""
    test_rows, p = market()
    found = comparison(test_rows, p, p_champion_N=p.copy())
    for interval in (found.log_loss_minus_champion, found.net_return_minus_champion):
        assert interval is not None
        assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_differences_are_candidate_minus_champion() -> None:
    """A lower log loss and a higher return are better."""
    test_rows, p = market()
    found = comparison(test_rows, p, p_champion_N=1 - p)
    assert found.champion is not None
    assert found.log_loss_minus_champion is not None
    assert found.net_return_minus_champion is not None
    assert found.log_loss_minus_champion.value == pytest.approx(
        found.candidate.log_loss - found.champion.log_loss
    )
    assert found.log_loss_minus_champion.high < 0 < found.net_return_minus_champion.low


def test_rows_of_unknown_market_return_are_left_out_of_the_return_difference_only() -> None:
    """The log loss does not depend on prices."""
    test_rows, p = market()
    returns = test_rows.market_return_N.copy()
    returns[::2] = math.nan
    found = comparison(with_market_return(test_rows, returns), p, p_champion_N=1 - p)
    assert found.net_return_minus_champion is not None
    assert math.isfinite(found.net_return_minus_champion.low)
    nothing = comparison(with_market_return(test_rows, np.full(1800, math.nan)), p, p_champion_N=1 - p)
    assert nothing.net_return_minus_champion is not None
    assert math.isnan(nothing.net_return_minus_champion.value)
    assert nothing.log_loss_minus_champion == found.log_loss_minus_champion


def test_without_a_champion_there_is_no_difference_but_a_reason() -> None:
    """A missing difference is None, not zero."""
    found = comparison(*market())
    assert (found.champion, found.log_loss_minus_champion, found.net_return_minus_champion) == (None,) * 3
    assert found.champion_absent_because


def test_auroc_is_reported_for_every_symbol_that_has_rows() -> None:
    """One good symbol can hide the others. A symbol with a single class has no AUROC."""
    test_rows = rows([1, 0, 1, 1], symbol_N=[0, 0, 2, 2])
    found = evaluate_one("candidate", test_rows, np.array([0.9, 0.1, 0.5, 0.6]), POLICY)
    assert found.auroc_by_symbol["ADAUSDT"] == 1.0
    assert math.isnan(found.auroc_by_symbol["SOLUSDT"])
    assert "BTCUSDT" not in found.auroc_by_symbol


@pytest.mark.parametrize("p", [np.zeros(3), np.zeros((4, 1)), np.zeros(0)])
def test_a_number_of_predictions_other_than_rows_raises(p: Floats) -> None:
    """numpy would broadcast a single value over all rows."""
    with pytest.raises(ValueError, match="predictions for"):
        evaluate_one("candidate", rows([1, 0, 1, 0]), p, POLICY)


GOOD, BAD, UNKNOWN = np.array([0.9, 0.1]), np.array([0.6, 0.4]), np.array([np.nan, 0.1])


@pytest.mark.parametrize(
    ("logistic", "trees", "better"),
    [
        (BAD, GOOD, "trees"),
        (GOOD, BAD, "logistic"),
        (GOOD, GOOD, "logistic"),
        (GOOD, UNKNOWN, "logistic"),
        (UNKNOWN, GOOD, "logistic"),
    ],
)
def test_the_validation_part_chooses_the_better_plain_model(
    logistic: Floats, trees: Floats, better: str
) -> None:
    """The test part is judged with the choice: to choose on it would favour the plain models."""
    label_N = np.array([1, 0], dtype=np.int8)
    assert better_plain({"logistic": logistic, "trees": trees}, label_N) == better


def test_without_trees_or_validation_logistic_regression_is_the_bar() -> None:
    """Evidence of version 0.1 is judged as it was."""
    label_N = np.array([1, 0], dtype=np.int8)
    assert better_plain({}, label_N) == "logistic"
    assert better_plain({"logistic": GOOD, "trees": GOOD}, None) == "logistic"


def test_the_better_model_on_validation_is_the_bar_even_if_it_is_worse_on_the_test_part() -> None:
    """The bar is chosen before the test part is read."""
    label_N = np.array([1, 0], dtype=np.int8)
    answers = Answers(
        p_candidate_N=GOOD,
        p_champion_N=None,
        champion_absent_because="none",
        p_logistic_N=GOOD,
        base_rate=0.5,
        p_trees_N=BAD,
        validation_by_plain={"logistic": GOOD, "trees": 1 - GOOD},
    )
    validation = ScoredRows(rows=rows(1 - label_N), p_N=GOOD)
    found = compare(rows(label_N), answers, policy=POLICY, past=PastAttempts(), validation=validation)
    assert found.trees is not None
    assert found.plain is found.trees
    assert found.trees.log_loss > found.logistic.log_loss
    assert found.trees.n == 2
