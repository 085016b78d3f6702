"""Audits of the candles that windows are made of."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clm.clock import HOUR, from_micros
from clm.data.audits import audit
from clm.data.audits.candles import (
    bad_candles,
    candle_jumps,
    coarse_prices,
    entries_outside_candles,
    market_not_trading,
    samples_without_candles,
)
from clm.data.candles.series import Candles
from clm.data.findings import Severity
from tests.data.candles.market import START, candles, series
from tests.data.candles.test_windows import MANY, MARKET, dataset, samples
from tests.data.rows import POLICY, parsed, raw_row, text

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spoilt(bad: int) -> Candles:
    first, *rest = MARKET.reports
    report = replace(first, rows_read=first.rows_read, rejected={"impossible_prices": bad})
    return replace(MARKET, reports=(report, *rest))


def test_sound_candles_raise_nothing():
    """An audit that always reports is useless."""
    names = {finding.name for finding in audit(dataset(samples(*MANY)), POLICY, NOW)}

    assert not names & {"bad_candles", "samples_without_candles"}


@pytest.mark.parametrize(
    ("bad", "severity"), [(8, None), (9, Severity.WARN), (40, Severity.WARN), (41, Severity.BLOCK)]
)
def test_bad_candles_warn_above_1_percent_and_block_above_5(bad, severity):
    """Of 800 candles; the share is that of bad rows of the store."""
    finding = bad_candles(dataset(samples(*MANY), spoilt(bad)), POLICY, NOW)

    assert (finding.severity if finding else None) == severity
    if finding:
        assert finding.rows == bad
        assert f"{bad} of 800 candles" in finding.message
        assert f"BTCUSDT: impossible_prices {bad}" in finding.message


@pytest.mark.parametrize(
    ("missing", "severity"),
    [((), None), ((200,), Severity.WARN), (tuple(range(150, 400)), Severity.BLOCK)],
)
def test_samples_without_their_candles_warn_above_5_percent_and_block_above_half(missing, severity):
    """A gap of one candle costs its warm-up and its windows; other candles cost everything."""
    hours = tuple(START + hour * HOUR for hour in range(60, 400))
    finding = samples_without_candles(
        dataset(samples(*hours), candles(series(400, missing=missing))), POLICY, NOW
    )

    assert (finding.severity if finding else None) == severity
    if finding:
        assert f"of {len(hours)} samples" in finding.message


def test_a_store_of_samples_has_no_candles_to_judge():
    """Silent where windows are made of samples."""
    plain = replace(dataset(samples(*MANY)), candles=(), dropped={"history_too_short": 1_000})

    assert bad_candles(plain, POLICY, NOW) is None
    assert samples_without_candles(plain, POLICY, NOW) is None


def traded(*, ahead_h: float = 0, scale: float = 1, one=MARKET.series[0], exact: bool = True):
    """A data set of trades at the closes of these candles, by a log whose clock is ahead."""
    rows = range(60, 390)
    shift = round(ahead_h * HOUR) + (0 if exact else HOUR // 2)
    table = parsed(
        raw_row(
            number,
            symbol=one.symbol,
            timestamp=text(from_micros(int(one.closed_at_T[row]) + shift)),
            exit_time=text(from_micros(int(one.closed_at_T[row]) + shift + 2 * HOUR)),
            entry_price=float(one.close_T[row]) * scale,
        )
        for number, row in enumerate(rows, start=1)
    )
    return dataset(table)


def test_entries_at_the_closes_of_their_candles_raise_nothing():
    """On the hour and in the middle of it."""
    assert entries_outside_candles(traded(), POLICY, NOW) is None
    assert entries_outside_candles(traded(exact=False), POLICY, NOW) is None


@pytest.mark.parametrize("ahead_h", [1, 2, 5, 8, -5])
def test_a_log_in_local_time_blocks_and_the_lag_is_named(ahead_h):
    """A feature of candles hours later than the trade knows how it went."""
    finding = entries_outside_candles(traded(ahead_h=ahead_h), POLICY, NOW)

    assert finding
    assert finding.severity is Severity.BLOCK
    assert f"the samples' clock is {ahead_h:+.3g} h off" in finding.message


@pytest.mark.parametrize("scale", [1000, 0.92])
def test_another_unit_or_market_blocks_with_the_ratio(scale):
    """Euros are not dollars, nor thousands of coins coins."""
    finding = entries_outside_candles(traded(scale=scale), POLICY, NOW)

    assert finding
    assert finding.severity is Severity.BLOCK
    assert f"the entry is {scale:.4g} times the last close" in finding.message


def test_candles_of_another_market_block():
    """Joined by name alone, any market would do."""
    table = traded(one=MARKET.series[1]).table
    renamed = replace(table, symbols=("BTCUSDT",))
    finding = entries_outside_candles(dataset(renamed), POLICY, NOW)

    assert finding
    assert finding.severity is Severity.BLOCK


def test_what_was_found_in_a_series_is_a_finding():
    """Left out or read as meant, it is still said."""
    first, *rest = MARKET.reports
    jump = "2025-11-03 20:00 from 11 to 10000"
    odd = replace(first, not_trading=9, jumps=1, first_jump=jump, coarse_share=0.4)
    found = dataset(samples(*MANY), replace(MARKET, reports=(odd, *rest)))

    shown = [ask(found, POLICY, NOW) for ask in (market_not_trading, candle_jumps, coarse_prices)]
    messages = [finding.message for finding in shown if finding]
    assert "9 of 800 candles (1.1%) have no volume" in messages[0]
    assert f"BTCUSDT {jump}" in messages[1]
    assert "BTCUSDT does not move in 40%" in messages[2]


def test_a_perpetual_next_to_its_spot_is_named():
    """The nearest wrong name is the likeliest cause."""
    table = samples(*MANY, symbol="BTC/USDT:USDT")
    finding = samples_without_candles(dataset(table), POLICY, NOW)

    assert finding
    assert "the samples are of BTCUSDT-PERP, the candles of BTCUSDT" in finding.next_step
