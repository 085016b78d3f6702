"""The simulated market."""

import time
from dataclasses import fields, replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clm.data.market import FEATURE_NAMES, WARM_UP_H, features_of, simulate_market
from clm.data.simulator import SimulatedSample, simulate
from tests.data.rows import CUTOFF, dataset_of

COLUMNS = [
    "id",
    "symbol",
    "timestamp",
    "run_id",
    "predicted_action",
    "prediction_score",
    "prediction_confidence",
    "model_version",
    "features",
    "feature_names",
    "executed",
    "execution_side",
    "entry_price",
    "entry_quantity",
    "entry_time",
    "outcome_known",
    "exit_price",
    "exit_time",
    "realized_pnl",
    "hold_duration_seconds",
    "target_label",
    "target_class",
    "created_at",
    "updated_at",
]


def skill(samples):
    """Return the AUROC of logistic regression on the last step of the test windows, and the base rate."""
    dataset = dataset_of([sample.as_row() for sample in samples], context_length=128)
    x_NC = dataset.scaler.apply(dataset.table.features_RC[dataset.row_N])
    train, test = dataset.split.train, dataset.split.test
    model = LogisticRegression(max_iter=500).fit(x_NC[train], dataset.label_N[train])
    return roc_auc_score(dataset.label_N[test], model.predict_proba(x_NC[test])[:, 1]), dataset.label_N.mean()


def test_the_same_seed_gives_the_same_trades():
    """A demonstration that shows something else each time demonstrates nothing."""
    first, again, other = (simulate(seed=seed, n_samples=50, until=CUTOFF, days=5) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_a_sample_has_all_columns_of_the_store_in_their_order():
    """It is inserted as it is."""
    assert [field.name for field in fields(SimulatedSample)] == COLUMNS
    assert list(simulate(seed=1, n_samples=1, until=CUTOFF, days=5)[0].as_row()) == COLUMNS


def test_six_thousand_samples_take_under_two_seconds():
    """The demonstration starts with it."""
    began = time.process_time()
    assert len(simulate(seed=1, n_samples=6000, until=CUTOFF)) == 6000
    assert time.process_time() - began < 2


def test_a_default_market_can_be_learnt_from():
    """A logistic regression finds skill, and WIN is neither rare nor the rule."""
    auroc, base_rate = skill(simulate(seed=7, n_samples=6000, until=CUTOFF))

    assert 0.66 < auroc < 0.76
    assert 0.54 < base_rate < 0.61


def test_more_signal_is_more_skill_and_none_is_none():
    """The gates are held against a market in which there is nothing to find."""
    seeds = range(4)
    none, half, full = (
        np.mean(
            [skill(simulate(seed=seed, n_samples=3000, until=CUTOFF, signal=signal))[0] for seed in seeds]
        )
        for signal in (0.0, 0.5, 1.0)
    )

    assert none == pytest.approx(0.5, abs=0.04)
    assert none + 0.05 < half < full


def test_at_signal_0_returns_are_independent_of_everything_before():
    """The promise behind every noise test: alike in every hour, whatever the temper and the stance."""
    market = simulate_market(np.random.default_rng(1), hours=20_000, n_symbols=2, signal=0.0)
    return_TS = np.diff(np.log(market.close_TS), axis=0)
    correlations = [
        np.corrcoef(later, earlier)[0, 1]
        for later, earlier in (
            (return_TS[1:, 0], return_TS[:-1, 0]),
            (np.abs(return_TS[1:, 0]), np.abs(return_TS[:-1, 0])),
            (return_TS[:, 0], market.stance_TS[:-1, 0]),
            (np.abs(return_TS[:, 0]), market.volume_TS[:-1, 0]),
            (return_TS[:, 0], return_TS[:, 1]),
        )
    ]

    assert np.abs(correlations).max() < 0.03


def test_outcomes_agree_with_the_profit_and_come_after_the_decision():
    """A store without the faults that other stores have."""
    samples = simulate(seed=3, n_samples=2000, until=CUTOFF, days=60)
    closed = [sample for sample in samples if sample.outcome_known]

    assert {sample.execution_side for sample in samples} == {"BUY", "SELL"}
    for sample in closed:
        sign = (sample.realized_pnl > 0) - (sample.realized_pnl < 0)
        assert sample.target_class == {1: "WIN", 0: "NEUTRAL", -1: "LOSS"}[sign]
        held = sample.exit_time - sample.timestamp
        assert timedelta(0) < held <= timedelta(hours=6)
        assert sample.hold_duration_seconds == held.total_seconds()
        side = 1 if sample.execution_side == "BUY" else -1
        assert sample.target_label == pytest.approx(side * (sample.exit_price / sample.entry_price - 1))


def test_what_is_open_at_the_end_has_no_outcome():
    """A live store always ends in open trades."""
    samples = simulate(seed=3, n_samples=2000, until=CUTOFF, days=20)
    still_open = [sample for sample in samples if not sample.outcome_known]

    assert still_open
    assert max(sample.timestamp for sample in samples) <= CUTOFF
    for sample in samples:
        assert sample.outcome_known == (sample.exit_time is not None)
        assert sample.exit_time is None or sample.exit_time <= CUTOFF
    for sample in still_open:
        assert sample.timestamp > CUTOFF - timedelta(hours=6)
        assert sample.realized_pnl is sample.target_class is sample.exit_price is None


def test_ids_do_not_follow_time():
    """As in the real store: code that sorts by id must fail a test."""
    moments = [sample.timestamp for sample in simulate(seed=3, n_samples=200, until=CUTOFF, days=20)]

    assert moments != sorted(moments)


def test_a_candle_holds_its_open_and_close():
    """Highs and lows decide the barriers."""
    market = simulate_market(np.random.default_rng(1), hours=500, n_symbols=3, signal=1.0)

    assert (market.high_TS >= np.maximum(market.open_TS, market.close_TS)).all()
    assert (market.low_TS <= np.minimum(market.open_TS, market.close_TS)).all()
    np.testing.assert_array_equal(market.open_TS[1:], market.close_TS[:-1])


def test_no_later_candle_changes_an_earlier_feature():
    """A feature that looks ahead would make every figure a lie."""
    market = simulate_market(np.random.default_rng(1), hours=WARM_UP_H + 80, n_symbols=2, signal=1.0)
    hour = WARM_UP_H + 40
    later = {
        name: np.vstack([getattr(market, name)[: hour + 1], getattr(market, name)[hour + 1 :] * 1.7])
        for name in ("open_TS", "high_TS", "low_TS", "close_TS", "volume_TS")
    }
    before_TSC, after_TSC = features_of(market), features_of(replace(market, **later))

    np.testing.assert_array_equal(before_TSC[: hour + 1], after_TSC[: hour + 1])
    assert before_TSC.shape[2] == len(FEATURE_NAMES)
    assert (before_TSC[hour + 1 :] != after_TSC[hour + 1 :]).any(axis=(0, 1)).all()
