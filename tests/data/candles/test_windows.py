"""Windows of the last closed candles before each decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR, MICROSECOND, from_micros
from clm.data.audits.windows import constant_windows, still_windows
from clm.data.candles.catalogue import DEFAULT_FEATURES, feature, features_of
from clm.data.candles.windows import PREFIX, candle_windows, channels, sample_features
from clm.data.dataset import DataPolicy, Dataset, build_dataset
from clm.data.findings import Severity
from clm.data.splits import SplitPolicy
from clm.domain.sample import SampleTable
from clm.errors import ConfigError
from tests.data.candles.market import START, candles, series
from tests.data.rows import NAMES, POLICY, parsed, raw_row, text

LENGTH = 16
QUICK = ("candle_return_1", "candle_bb_position", "candle_high_low_range")
"""Known from the 20th candle on."""
MARKET = candles(series(400, seed=1), series(400, seed=2, symbol="ETHUSDT"))


def samples(*moments: int, symbol: str = "BTCUSDT", features: tuple[str, ...] = ()) -> SampleTable:
    """Samples decided at these microseconds, resolved two hours later."""
    return parsed(
        (
            raw_row(
                number,
                symbol=symbol,
                timestamp=text(from_micros(moment)),
                exit_time=text(from_micros(moment) + timedelta(hours=2)),
            )
            for number, moment in enumerate(moments, start=1)
        ),
        features,
    )


def windows_of(table, market=MARKET, names=QUICK):
    return candle_windows(table, table.labelled_R, market, names=names, context_length=LENGTH)


def policy(**changes: object) -> DataPolicy:
    values: dict[str, object] = {
        "context_length": LENGTH,
        "target": "win",
        "features": QUICK,
        "split": SplitPolicy(train_share=0.6, validation_share=0.2, embargo_h=1.0),
        "window_source": "candles",
    }
    return DataPolicy(**{**values, **changes})  # type: ignore[arg-type]


def dataset(table: SampleTable, market=MARKET, **changes: object) -> Dataset:
    return build_dataset(table, policy(**changes), market)


MANY = tuple(START + 60 * HOUR + 37 * 60_000_000 * n for n in range(300))


@given(minutes=st.lists(st.integers(0, 400 * 60), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_nothing_in_a_window_is_later_than_the_decision(minutes):
    """The last candle closed at the decision or within an interval before it; none is running."""
    table = samples(*(START + minute * 60_000_000 for minute in minutes))
    found = windows_of(table)

    for n, row in enumerate(found.row_N.tolist()):
        closed_at_L = found.closed_at_M[found.windows.end_N[n] - LENGTH + 1 : found.windows.end_N[n] + 1]
        late = table.decided_at_R[row] - closed_at_L[-1]
        assert 0 <= late < HOUR
        assert (np.diff(closed_at_L) == HOUR).all()


@given(cut_h=st.integers(60, 390))
@settings(max_examples=20, deadline=None)
def test_no_later_candle_changes_a_window(cut_h):
    """The proof by effect: another future, the same window."""
    table = samples(START + cut_h * HOUR)
    other, first = series(400, seed=99), MARKET.series[0]
    names = ("opened_at_T", "open_T", "high_T", "low_T", "close_T", "volume_T")
    mixed = series(
        400,
        **{
            name: np.concatenate([getattr(first, name)[:cut_h], getattr(other, name)[cut_h:]])
            for name in names[1:]
        },
    )

    got = [windows_of(table, market).windows.gather(np.array([0])) for market in (MARKET, candles(mixed))]
    np.testing.assert_array_equal(*got)


def test_a_window_shows_the_features_of_its_candles_oldest_first():
    """Gathered from one matrix, by index."""
    found = windows_of(samples(START + 100 * HOUR, symbol="ETHUSDT"))
    wanted_TC = features_of(MARKET.series[1], [feature(name.removeprefix(PREFIX)) for name in QUICK])

    np.testing.assert_array_equal(found.windows.gather(np.array([0]))[0], wanted_TC[100 - LENGTH : 100])


def test_a_candle_that_closes_at_the_decision_is_known_and_one_that_closes_later_is_not():
    """One microsecond before its close a candle is still running."""
    found = windows_of(samples(START + 100 * HOUR, START + 100 * HOUR - MICROSECOND))

    assert found.closed_at_M[found.windows.end_N].tolist() == [START + 99 * HOUR, START + 100 * HOUR]


def test_samples_without_their_candles_are_dropped_and_counted():
    """A window of old candles, or of other ones, would be a window of nothing."""
    broken = candles(series(400, missing=(200,)))
    hours = {
        "candles_too_few": [1, 5, 20, 20 + LENGTH - 2],
        "candles_gap": [202, 210, 201 + 20 + LENGTH - 2],
        "candles_missing": [-1, 0.99, 201, 201.5, 401, 900],
    }
    good = [20 + LENGTH - 1, 199, 200, 200.99, 201 + 20 + LENGTH - 1, 400, 400.99]
    table = samples(*(START + int(hour * HOUR) for some in (*hours.values(), good) for hour in some))
    found = windows_of(table, broken)

    assert len(found.row_N) == len(good)
    assert found.dropped == {reason: len(some) for reason, some in hours.items()}


def test_a_gap_is_one_for_features_that_need_no_warm_up_too():
    """They are known right after it; the window would still not be one of neighbours."""
    broken = candles(series(400, missing=(200,)))
    table = samples(START + 199 * HOUR, START + 210 * HOUR, START + (201 + LENGTH) * HOUR)
    found = windows_of(table, broken, names=("candle_high_low_range",))

    assert found.row_N.tolist() == [0, 2]
    assert found.dropped == {"candles_gap": 1}


def test_a_symbol_without_candles_is_counted():
    """A new listing, another quote currency, or the perpetual of a spot market."""
    for symbol in ("DOGEUSDT", "BTCEUR", "BTC/USDT:USDT"):
        found = windows_of(samples(START + 100 * HOUR, symbol=symbol))

        assert len(found.row_N) == 0
        assert found.dropped == {"candles_missing": 1}


def test_samples_and_candles_are_joined_by_the_market_not_by_its_spelling():
    """Both are read by the same function of names."""
    found = windows_of(samples(START + 100 * HOUR, symbol=" btc/usdt"))

    assert len(found.row_N) == 1


def test_every_known_outcome_is_a_window_or_counted():
    """Nothing falls under the table."""
    table = samples(*MANY, START, START + 900 * HOUR)
    built = dataset(table)

    assert len(built.row_N) + sum(built.dropped.values()) == int(table.labelled_R.sum())


def test_the_samples_own_features_are_held_all_over_the_window():
    """The order of the channels is the one asked for, whichever source they come from."""
    names = ("volatility", "candle_rsi", "rsi", "candle_return_1")
    table = samples(START + 300 * HOUR, START + 301 * HOUR, features=sample_features(names))
    found = windows_of(table, names=names)
    x_NLC = found.windows.gather(np.arange(2))

    assert found.windows.names == names
    for channel, name in ((0, "volatility"), (2, "rsi")):
        own_R = table.features_RC[:, table.feature_names.index(name)]
        np.testing.assert_array_equal(
            x_NLC[:, :, channel], np.repeat(own_R[found.row_N, None], LENGTH, axis=1)
        )
    wanted_T = features_of(MARKET.series[0], [feature("rsi")])[:, 0]
    np.testing.assert_array_equal(x_NLC[0, :, 1], wanted_T[300 - LENGTH : 300])
    assert found.windows.stepping_C.tolist() == [False, True, False, True]


def test_without_names_it_is_the_default_features_of_the_candles():
    """They need nothing of the samples."""
    assert channels(()) == tuple(PREFIX + name for name in DEFAULT_FEATURES)
    assert sample_features(()) == ()
    assert sample_features(("rsi", "candle_rsi")) == ("rsi",)
    assert windows_of(samples(START + 300 * HOUR), names=()).windows.names == channels(())


def test_an_unknown_feature_of_candles_is_refused():
    """It is never filled with zeros."""
    with pytest.raises(ConfigError, match="no feature rsii"):
        windows_of(samples(START + 300 * HOUR), names=("candle_rsii",))


def test_the_scaler_is_fitted_on_the_training_part_of_both_sources():
    """A held value counts once a window, a candle once however many samples it has."""
    names = ("candle_return_1", "rsi")
    built = dataset(samples(*MANY, features=("rsi",)), features=names)
    train, windows = built.split.train, built.windows

    steps_C = windows.steps_MC[np.unique(windows.end_N[train]), 0]
    own_N = built.table.features_RC[built.row_N[train], 0]
    np.testing.assert_allclose(built.scaler.mean_C, [steps_C.mean(), own_N.mean()])
    np.testing.assert_allclose(built.scaler.scale_C, [steps_C.std(), own_N.std()])


class TestFingerprint:
    def test_the_order_of_the_rows_does_not_show(self):
        """A dump and restore changes the physical order, not the data."""
        names = ("rsi", *QUICK)
        rows = [
            raw_row(
                number,
                timestamp=text(from_micros(moment)),
                exit_time=text(from_micros(moment + 2 * HOUR)),
            )
            for number, moment in enumerate(MANY)
        ]
        prints = {dataset(parsed(some, ("rsi",)), features=names).fingerprint for some in (rows, rows[::-1])}

        assert len(prints) == 1

    def test_what_training_sees_shows(self):
        """Two runs with one fingerprint were given the same data."""
        table, own = samples(*MANY), samples(*MANY, features=("rsi",))
        one_R = MICROSECOND * (np.arange(len(table)) == 5)
        nudged = series(400, seed=1, volume_T=np.ones(400))
        prints = [
            dataset(table).fingerprint,
            dataset(table, context_length=LENGTH + 1).fingerprint,
            dataset(table, features=QUICK[:2]).fingerprint,
            dataset(table, features=QUICK[::-1]).fingerprint,
            dataset(table, features=(*QUICK, "candle_volume_ratio")).fingerprint,
            dataset(table, candles(nudged), features=(*QUICK, "candle_volume_ratio")).fingerprint,
            dataset(table, candles(series(400, seed=5))).fingerprint,
            dataset(own, features=(*QUICK, "rsi")).fingerprint,
            dataset(replace(own, features_RC=own.features_RC + 1), features=(*QUICK, "rsi")).fingerprint,
            dataset(replace(table, decided_at_R=table.decided_at_R + one_R)).fingerprint,
            dataset(replace(table, resolved_at_R=table.resolved_at_R + MICROSECOND)).fingerprint,
        ]

        assert len(set(prints)) == len(prints)

    def test_candles_that_no_window_shows_do_not(self):
        """A year more of the past is no new data."""
        names = ("candle_return_1", "candle_high_low_range")
        table = samples(*MANY)
        first = series(400, seed=1)
        stranger = series(50, seed=7, symbol="AAAUSDT")

        prints = {
            dataset(table, market, features=names).fingerprint
            for market in (candles(first), MARKET, candles(stranger, first))
        }
        assert len(prints) == 1


class TestConstantWindows:
    def test_a_market_that_repeats_one_candle_is_refused(self):
        """One row 128 times is no time series, whatever it is made of."""
        still = np.full(400, 2.0)
        flat = series(
            400, open_T=still, high_T=1.01 * still, low_T=0.99 * still, close_T=still, volume_T=still
        )
        finding = constant_windows(
            dataset(samples(*MANY), candles(flat)), POLICY, datetime(2026, 1, 1, tzinfo=UTC)
        )

        assert finding is not None
        assert finding.severity is Severity.BLOCK

    def test_what_a_sample_holds_by_itself_is_no_repetition(self):
        """It is constant by design; only the candles change."""
        built = dataset(samples(*MANY, features=NAMES), features=(*NAMES, "candle_return_1"))

        assert still_windows(built).shape == (len(built.row_N), 1)
        assert not still_windows(built).any()
