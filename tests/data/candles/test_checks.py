"""Candles one by one and as a series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR, SECOND
from clm.data.candles.checks import interval_of, settle
from clm.data.candles.parsing import CandleColumns
from clm.data.timestamps import UNREADABLE
from clm.errors import DataError
from tests.data.candles.market import START

NOW = START + 10_000 * HOUR
GOOD = (10.0, 12.0, 9.0, 11.0, 5.0)


def columns(hours, prices=None, **changes):
    rows = len(hours)
    return CandleColumns(
        opened_at_T=np.array([hour if hour == UNREADABLE else START + round(hour * HOUR) for hour in hours]),
        prices_TP=np.array(prices if prices is not None else [GOOD] * rows, dtype=np.float64).reshape(
            rows, 5
        ),
        **changes,
    )


def settled(*parts, now=NOW):
    return settle("BTCUSDT", parts, now=now)


def test_good_candles_are_all_used():
    """Nothing is found where nothing is wrong."""
    series, report = settled(columns(range(50)))

    assert (len(series), series.interval, series.symbol) == (50, HOUR, "BTCUSDT")
    assert series.closed_at_T[0] == START + HOUR
    assert (report.candles, report.rejected, report.gaps, report.missing) == (50, {}, 0, 0)
    assert (report.duplicates, report.out_of_order) == (0, 0)
    assert (report.first_at, report.last_at) == (START, START + 49 * HOUR)


@pytest.mark.parametrize(
    ("reason", "candle"),
    [
        ("bad_number", (np.nan, 12, 9, 11, 5)),
        ("bad_number", (10, np.inf, 9, 11, 5)),
        ("bad_number", (10, 12, 9, 11, np.nan)),
        ("impossible_prices", (10, 10.5, 9, 11, 5)),
        ("impossible_prices", (10, 12, 10.5, 11, 5)),
        ("impossible_prices", (13, 12, 9, 11, 5)),
        ("impossible_prices", (10, 12, 9, 8, 5)),
        ("impossible_prices", (0, 12, 0, 11, 5)),
        ("impossible_prices", (-1, 12, -2, 11, 5)),
        ("impossible_prices", (10, 12, 9, 11, -5)),
        ("impossible_prices", (10, 1e13, 9, 11, 5)),
        ("impossible_prices", (10, 12, 9, 11, 1e19)),
    ],
)
def test_a_candle_that_cannot_be_is_left_out_and_counted(reason, candle):
    """One price of 0 makes a return of infinity, and every indicator after it."""
    prices = [GOOD] * 50
    prices[20] = candle
    series, report = settled(columns(range(50), prices))

    assert report.rejected == {reason: 1}
    assert START + 20 * HOUR not in series.opened_at_T
    assert (report.candles, report.gaps, report.missing) == (49, 1, 1)


def test_a_timestamp_that_cannot_be_read_is_counted():
    """A candle of no known time has no place."""
    _, report = settled(columns([*range(50), UNREADABLE]))

    assert report.rejected == {"bad_timestamp": 1}
    assert report.candles == 50


def test_gaps_are_counted_with_what_they_lack():
    """Two gaps, of one and of three candles."""
    series, report = settled(columns([hour for hour in range(50) if hour not in (7, 20, 21, 22)]))

    assert (report.gaps, report.missing, report.candles) == (2, 4, 46)
    assert [span.stop - span.start for span in series.runs()] == [7, 12, 27]
    assert series.run_start_T[[0, 6, 7, 18, 19, 45]].tolist() == [0, 0, 7, 7, 19, 19]


def test_rows_out_of_order_are_sorted_and_counted():
    """A file appended by two writers is still the market."""
    series, report = settled(columns([0, 1, 2, 5, 3, 4, 6, 7, 8, 9]))

    assert report.out_of_order == 2
    assert (np.diff(series.opened_at_T) == HOUR).all()


def test_a_duplicate_counts_once_and_a_contradiction_not_at_all():
    """The file does not show which of two closes is correct."""
    other = (10.0, 12.0, 9.0, 10.5, 5.0)
    series, report = settled(
        columns(range(50)), columns([3, 3, 7], [GOOD, GOOD, other]), columns([8], [GOOD])
    )

    assert report.duplicates == 3
    assert report.rejected == {"conflicting_duplicate": 2}
    assert START + 7 * HOUR not in series.opened_at_T
    assert len(series) == 49


def test_a_candle_off_the_grid_is_left_out():
    """A candle from half past belongs to another series."""
    _, report = settled(columns([*range(50), 20.5]))

    assert report.rejected == {"off_grid": 1}
    assert report.candles == 50


def test_a_candle_that_is_still_open_is_left_out():
    """Its close is only the latest price; a model would learn from what it cannot know."""
    _, report = settled(columns(range(50)), now=START + 50 * HOUR - SECOND)
    assert report.rejected == {"still_open": 1}

    _, report = settled(columns(range(50)), now=START + 50 * HOUR)
    assert report.rejected == {}


def test_a_candle_that_was_open_when_its_file_was_written_is_left_out():
    """Read a week later it looks closed; what stands in the file is not its close."""
    _, report = settled(columns(range(50), written_at=START + 49 * HOUR + HOUR // 2))
    assert report.rejected == {"still_open": 1}

    _, report = settled(columns(range(50), written_at=START + 50 * HOUR))
    assert report.rejected == {}


def test_a_file_with_an_old_time_of_writing_loses_nothing():
    """Archives and images give files any time; 1970 does not make every candle unfinished."""
    _, report = settled(columns(range(50), written_at=1))

    assert (report.candles, report.rejected) == (50, {})


@pytest.mark.parametrize("hours", [[], [5], [UNREADABLE]])
def test_one_candle_shows_no_interval(hours):
    """Nothing can be said of when it closed."""
    series, report = settled(columns(hours))

    assert series is None
    assert (report.candles, report.interval) == (0, 0)


@given(
    candles=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 60), st.just(UNREADABLE), st.floats(0, 60)),
            st.tuples(*[st.one_of(st.floats(), st.integers(8, 13))] * 5),
        ),
        max_size=80,
    ),
    cut=st.integers(0, 80),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_rows_what_is_left_is_sound_and_every_row_is_counted(candles, cut):
    """Nothing raises, nothing falls under the table."""
    parts = [
        columns([hour for hour, _ in part], [prices for _, prices in part])
        for part in (candles[:cut], candles[cut:])
    ]
    series, report = settled(*parts, now=START + 50 * HOUR)

    assert report.rows_read == len(candles)
    assert report.rows_read == report.candles + sum(report.rejected.values()) + report.duplicates
    if series is None:
        assert report.candles == 0
        return
    assert len(series) == report.candles
    steps = np.diff(series.opened_at_T)
    assert (steps > 0).all()
    assert (steps % series.interval == 0).all()
    assert (series.closed_at_T <= START + 50 * HOUR).all()
    assert (series.low_T > 0).all()
    assert (series.low_T <= np.minimum(series.open_T, series.close_T)).all()
    assert (series.high_T >= np.maximum(series.open_T, series.close_T)).all()
    assert int((steps // series.interval - 1).sum()) == report.missing


def test_the_interval_is_the_most_common_step():
    """Gaps are longer than candles, and there are fewer of them."""
    assert interval_of(np.array([0, 1, 2, 5, 9, 10]) * HOUR) == HOUR
    assert interval_of(np.array([9, 0, UNREADABLE, 3, 6]) * 1) == 3
    assert interval_of(np.array([], dtype=np.int64)) == 0


def test_closing_times_are_read_as_openings():
    """Exchanges give a candle's close as one unit before the next opening."""
    series, report = settled(columns([hour - 0.001 / 3600 for hour in range(1, 51)]))

    assert series.opened_at_T[0] == START
    assert (report.closing_times, report.candles) == (50, 50)


def test_rounding_is_not_an_impossible_price():
    """Adjusted prices miss the high by 1e-16 of themselves; a real error is larger."""
    noisy = (10.0, 11.0 * (1 - 1e-15), 9.0, 11.0, 5.0)
    wrong = (10.0, 11.0 * (1 - 1e-6), 9.0, 11.0, 5.0)
    series, report = settled(columns(range(50), [GOOD] * 48 + [noisy, wrong]))

    assert (report.rounded, report.rejected) == (1, {"impossible_prices": 1})
    assert series.high_T[48] == 11.0


def test_a_market_that_does_not_trade_is_left_out_and_counted():
    """Exporters fill a delisted pair with its last price; nothing about it can be predicted but that."""
    flat = (11.0, 11.0, 11.0, 11.0, 0.0)
    _, report = settled(columns(range(50), [GOOD] * 30 + [flat] * 3 + [GOOD] * 10 + [flat] * 2 + [GOOD] * 5))

    assert (report.not_trading, report.candles, report.rejected) == (3, 47, {})
    assert (report.gaps, report.missing) == (1, 3)


def test_quiet_minutes_of_a_market_that_trades_stay():
    """A small pair has minutes without a trade; hours without one are another matter."""
    flat = (11.0, 11.0, 11.0, 11.0, 0.0)
    minutes = [minute / 60 for minute in range(400)]
    _, report = settled(columns(minutes, [GOOD] * 50 + [flat] * 179 + [GOOD] * 171))
    assert report.not_trading == 0
    _, report = settled(columns(minutes, [GOOD] * 50 + [flat] * 180 + [GOOD] * 170))
    assert report.not_trading == 180


def test_a_split_or_another_unit_begins_a_new_run():
    """A window across it would hold a return that no market made."""
    scaled = (*(price * 1000 for price in GOOD[:4]), 5.0)
    series, report = settled(columns(range(50), [GOOD] * 20 + [scaled] * 30))

    assert (report.jumps, report.gaps) == (1, 0)
    assert report.first_jump == "2025-11-03 20:00 from 11 to 10000"
    assert [(run.start, run.stop) for run in series.runs()] == [(0, 20), (20, 50)]


def test_exchanged_columns_are_refused():
    """Where each open continues the open before, the columns are in another order."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 60)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) + 1, np.minimum(opened, close) - 1
    right = np.stack([opened, high, low, close, np.ones(60)], axis=1)
    settled(columns(range(60), right))
    with pytest.raises(DataError, match=r"CANDLES_SWAPPED.* open and close are exchanged"):
        settled(columns(range(60), right[:, [3, 1, 2, 0, 4]]))


def test_prices_with_too_few_digits_are_reported():
    """A coin of 0.00002 with five digits moves by whole ticks or not at all."""
    rng = np.random.default_rng(2)
    close = 2e-5 * np.exp(np.cumsum(rng.normal(0, 0.1, 400)))
    whole, rounded = (
        np.stack([price] * 4 + [np.ones(400)], axis=1) for price in (close, np.round(close, 5) + 1e-5)
    )
    assert settled(columns(range(400), whole))[1].coarse_share == 0
    assert settled(columns(range(400), rounded))[1].coarse_share > 0.3


def test_two_files_with_other_prices_at_the_same_times_are_refused():
    """Spot and perpetual, or two exchanges: half of each would be a market that never was."""
    other = tuple(price * 1.001 for price in GOOD)
    with pytest.raises(DataError, match=r"CANDLES_TWO_MARKETS.*a\.csv and b\.csv both hold BTCUSDT"):
        settled(columns(range(50), source="a.csv"), columns(range(40, 60), [other] * 20, source="b.csv"))
    _, report = settled(columns(range(50), source="a.csv"), columns(range(40, 60), source="b.csv"))
    assert (report.duplicates, report.candles) == (10, 60)


def test_one_market_in_two_spellings_is_reported_with_both():
    """BTCUSDT.csv and BTC-USDT.csv are one series, and somebody should know."""
    _, report = settled(columns(range(50), written="BTCUSDT"), columns(range(50, 60), written="BTC-USDT"))
    assert report.spellings == ("BTC-USDT", "BTCUSDT")
