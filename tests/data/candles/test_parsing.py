"""Rows of candle files to numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR
from clm.data.candles.parsing import UNREADABLE, RawCandles, by_symbol, parse_csv
from tests.data.candles.market import START

HEADER = "timestamp,open,high,low,close,volume"
ROW = "2025-11-03 00:00:00+00:00,10,12,9,11,5"


def parsed(text, symbol="BTCUSDT"):
    raw = parse_csv(text.splitlines())
    assert isinstance(raw, RawCandles), raw
    return by_symbol(raw, symbol=symbol)


@pytest.mark.parametrize(
    "stamp",
    [
        "2025-11-03 00:00:00+00:00",
        "2025-11-03T00:00:00Z",
        "2025-11-03 00:00:00",
        "2025-11-03 01:00:00+01:00",
        "2025-11-03 00:00",
    ],
)
def test_every_iso_form_is_the_same_moment(stamp):
    """Writers differ in T, Z and offsets."""
    parts, rejected = parsed(f"{HEADER}\n{stamp},10,12,9,11,5")

    assert parts["BTCUSDT"].opened_at_T.tolist() == [START]
    assert parts["BTCUSDT"].prices_TP.tolist() == [[10, 12, 9, 11, 5]]
    assert not rejected


@pytest.mark.parametrize(
    "stamp", ["", "1762128000000", "yesterday", "2025-13-03 00:00:00", "1969-01-01 00:00:00"]
)
def test_a_time_that_is_none_is_marked(stamp):
    """Seconds and milliseconds since 1970 cannot be distinguished reliably."""
    parts, _ = parsed(f"{HEADER}\n{stamp},10,12,9,11,5")

    assert parts["BTCUSDT"].opened_at_T.tolist() == [UNREADABLE]


@pytest.mark.parametrize("price", ["", "ten", "1_0", "nan", "0x10", "1,5", "10 USD"])
def test_a_price_that_is_none_is_nan(price):
    """The checks reject NaN. Python reads 1_0 as ten, but it is not a price."""
    quoted = f'"{price}"'
    parts, _ = parsed(f"{HEADER}\n2025-11-03 00:00:00,{quoted},12,9,11,5")

    assert np.isnan(parts["BTCUSDT"].prices_TP[0, 0])


def test_columns_are_found_by_name_and_others_ignored():
    """Exports differ in order, case and extras."""
    text = "trades,Close,low,HIGH,open, timestamp ,volume,quote_volume\n7,11,9,12,10,2025-11-03 00:00:00,5,55"
    parts, _ = parsed(text)

    assert parts["BTCUSDT"].prices_TP.tolist() == [[10, 12, 9, 11, 5]]


def test_missing_columns_are_named():
    """A file of something else is said to be one."""
    assert parse_csv(["timestamp,open,price"]) == ("high", "low", "close", "volume")
    assert parse_csv([])[0] == "timestamp"


def test_rows_of_another_length_are_counted():
    """A torn last line must not move prices into other columns."""
    parts, rejected = parsed(f"{HEADER}\n{ROW}\n\n2025-11-03 01:00:00,10,12\n{ROW},1")

    assert rejected == {"wrong_number_of_fields": 2}
    assert len(parts["BTCUSDT"].opened_at_T) == 1


def test_the_combined_file_is_taken_apart_by_symbol():
    """Each row goes to its own pair, a row of none is counted."""
    rows = "\n".join(
        f"2025-11-03 0{hour}:00:00,10,12,9,11,{hour},{symbol}"
        for hour, symbol in enumerate(
            ["BTCUSDT", "ethusdt ", "BTCUSDT", "", "ETHUSDT", "X" * 33, "BTC\tUSDT"]
        )
    )
    parts, rejected = parsed(f"{HEADER},symbol\n{rows}")

    assert sorted(parts) == ["BTCUSDT", "ETHUSDT"]
    assert parts["ETHUSDT"].opened_at_T.tolist() == [START + HOUR, START + 4 * HOUR]
    assert parts["BTCUSDT"].prices_TP[:, 4].tolist() == [0, 2]
    assert rejected == {"bad_symbol": 3}


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_and_every_row_is_counted(text):
    """Whatever lies in the directory, the reader answers."""
    lines = [HEADER, *text.replace('"', "'").replace("\r", "").replace("\0", "").split("\n")]
    raw = parse_csv(lines)
    parts, rejected = by_symbol(raw, symbol="X")

    assert len(parts["X"].opened_at_T) + rejected.total() == sum(bool(line) for line in lines[1:])
