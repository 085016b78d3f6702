"""Labelled samples from candles alone."""

from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from clm.clock import HOUR, from_micros, to_micros
from clm.data.candles.backfill import SIDES, BackfillPolicy, backfill
from clm.data.candles.barriers import Barriers
from clm.data.candles.catalogue import DEFAULT_FEATURES, FEATURES, feature, features_of
from clm.data.candles.series import CandleSeries
from clm.data.reading import RAW_COLUMNS
from clm.errors import ConfigError
from clm.store.existing import SAMPLE_COLUMNS
from tests.data.candles.market import START, candles, series
from tests.data.rows import parsed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKET = candles(series(800, seed=3, missing=(450,)), series(800, seed=4, symbol="ETHUSDT"))
WARM_UP = max(member.warm_up for member in FEATURES)


def policy(**changes: object) -> BackfillPolicy:
    values: dict[str, object] = {
        "barriers": Barriers(take_profit=0.01, stop_loss=0.015, horizon=6),
        "fee_bps": 4.0,
        "every": 3,
        "side": "trend",
        "features": DEFAULT_FEATURES,
    }
    return BackfillPolicy(**{**values, **changes})  # type: ignore[arg-type]


SAMPLES = list(backfill(MARKET, policy(), NOW))


def test_every_column_of_the_store_is_there():
    """The table belongs to the trading system; its readers find the same columns as in real rows."""
    row = SAMPLES[0].as_row()

    assert list(row) == list(SAMPLE_COLUMNS)
    assert [name for name, value in row.items() if value is None] == ["run_id"]


def test_ids_follow_time():
    """The order is defined."""
    assert [sample.id for sample in SAMPLES] == list(range(1, len(SAMPLES) + 1))
    moments = [sample.timestamp for sample in SAMPLES]
    assert moments == sorted(moments)


def test_a_sample_is_decided_at_the_close_of_a_candle_and_knows_no_more():
    """Its features are those of that candle."""
    by_symbol = {one.symbol: one for one in MARKET.series}
    known = {s.symbol: features_of(s, [feature(name) for name in DEFAULT_FEATURES]) for s in MARKET.series}
    for sample in SAMPLES[::7]:
        market = by_symbol[sample.symbol]
        (at,) = np.flatnonzero(market.closed_at_T == to_micros(sample.timestamp))
        assert orjson.loads(sample.features) == known[sample.symbol][at].tolist()
        assert orjson.loads(sample.feature_names) == list(DEFAULT_FEATURES)
        assert sample.entry_price == market.close_T[at]


def test_the_end_is_later_than_the_decision_and_within_the_horizon():
    """The label's interval is what the split purges by."""
    for sample in SAMPLES:
        held = to_micros(sample.exit_time) - to_micros(sample.timestamp)
        assert held % HOUR == 0
        assert 1 <= held // HOUR <= 6
        assert sample.hold_duration_seconds * 1_000_000 == held


def test_class_and_profit_agree_and_fees_are_paid():
    """WIN is a profit above zero, after fees on both sides."""
    dear = backfill(MARKET, policy(fee_bps=30.0), NOW)
    for sample, fees in [*((s, 0.0008) for s in SAMPLES), *((s, 0.006) for s in dear)]:
        side = 1 if sample.execution_side == "BUY" else -1
        gain = side * (sample.exit_price / sample.entry_price - 1)
        assert sample.realized_pnl == round(100 * (gain - fees), 2)
        assert sample.target_class == {1: "WIN", -1: "LOSS", 0: "NEUTRAL"}[np.sign(sample.realized_pnl)]
        assert sample.target_label == gain
    assert {"WIN", "LOSS"} <= {sample.target_class for sample in SAMPLES}
    assert any(s.target_class == "LOSS" and s.target_label > 0 for s in dear)


def test_a_decision_every_third_candle_where_all_features_are_known():
    """Nothing before the warm-up, nothing where the end is not known, nothing over a gap."""
    hours = [(to_micros(s.timestamp) - START) // HOUR for s in SAMPLES if s.symbol == "BTCUSDT"]

    assert set(np.diff(hours).tolist()) - {3} == {
        min(h for h in hours if h > 450) - max(h for h in hours if h < 450)
    }
    assert min(hours) > WARM_UP
    assert max(h for h in hours if h < 450) <= 450 - 6
    assert min(h for h in hours if h > 450) > 450 + WARM_UP - 3


def test_candles_end_before_the_newest_trades_do():
    """Of the trades whose time was not up only the quick ones would be known."""
    newest = max(to_micros(sample.timestamp) for sample in SAMPLES)

    assert newest <= START + (800 - 6) * HOUR


def test_sides_follow_the_rule():
    """BUY above the mean of 50 candles, SELL below it; one side; both at the same moment."""
    (ema,) = features_of(MARKET.series[1], [feature("ema_50")]).T
    above = dict(zip(MARKET.series[1].closed_at_T.tolist(), ema > 0, strict=True))
    for sample in SAMPLES:
        if sample.symbol == "ETHUSDT":
            assert (sample.execution_side == "BUY") == above[to_micros(sample.timestamp)]

    sides = {name: {s.execution_side for s in backfill(MARKET, policy(side=name), NOW)} for name in SIDES}
    assert sides == {"trend": {"BUY", "SELL"}, "buy": {"BUY"}, "sell": {"SELL"}, "both": {"BUY", "SELL"}}
    assert len(backfill(MARKET, policy(side="both"), NOW)) == 2 * len(SAMPLES)


def test_the_choice_of_features_moves_no_trade():
    """Two stores of other features can be compared row by row."""
    few = backfill(MARKET, policy(features=("return_1",)), NOW)

    assert [(s.id, s.timestamp, s.realized_pnl) for s in few] == [
        (s.id, s.timestamp, s.realized_pnl) for s in SAMPLES
    ]


def test_an_unknown_feature_is_refused():
    """It is never filled with zeros."""
    with pytest.raises(ConfigError, match="no feature rsii"):
        backfill(MARKET, policy(features=("rsii",)), NOW)


def test_the_reader_takes_every_row():
    """What the backfill writes is what a cycle reads."""
    rows = [tuple(sample.as_row()[name] for name in RAW_COLUMNS) for sample in SAMPLES]
    table = parsed(rows)

    assert (len(table), dict(table.rejected), dict(table.unlabelled)) == (len(SAMPLES), {}, {})
    assert from_micros(int(table.decided_at_R.min())) == SAMPLES[0].timestamp


def test_the_verb_offers_the_sides_there_are():
    """The command line names them itself, so that the daemon does not load what only a backfill needs."""
    from clm.cli import backfill as verb
    from clm.data.candles import backfill

    assert tuple(sorted(backfill.SIDES)) == verb.SIDES


def test_the_verb_reads_every_option_that_it_offers():
    """Click passes the options by name; one that has no field would be read by nothing."""
    from clm.cli import backfill as verb

    offered = {option.name for option in verb.backfill_verb.params}
    assert offered - {"store", "as_json", "candles"} == set(verb.Options.__annotations__)


def test_the_columns_of_a_market_are_computed_once_for_each_symbol(monkeypatch):
    """Once for each sample made twice the candles cost four times as much."""
    asked = []
    closed_at = CandleSeries.closed_at_T.fget
    monkeypatch.setattr(
        CandleSeries, "closed_at_T", property(lambda series: asked.append(1) or closed_at(series))
    )
    counts = []
    for length in (400, 800):
        asked.clear()
        assert len(list(backfill(candles(series(length, seed=3)), policy(), NOW))) > 20
        counts.append(len(asked))

    assert counts[0] == counts[1]
