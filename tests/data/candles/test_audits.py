"""Audits of the candles that windows are made of."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clm.clock import HOUR
from clm.data.audits import audit
from clm.data.audits.candles import bad_candles, samples_without_candles
from clm.data.candles.series import Candles
from clm.data.findings import Severity
from tests.data.candles.market import START, candles, series
from tests.data.candles.test_windows import MANY, MARKET, dataset, samples
from tests.data.rows import POLICY

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
