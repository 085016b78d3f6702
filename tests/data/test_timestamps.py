"""Moments of the store, in every form that occurs (fault B7)."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import to_micros
from clm.data.timestamps import UNITS, UNREADABLE, epoch_unit, parse_epochs, parse_micros

MOMENT = to_micros(datetime(2025, 12, 30, 21, 14, 40, tzinfo=UTC))


@pytest.mark.parametrize(
    "value",
    [
        "2025-12-30 21:14:40",
        "2025-12-30 21:14:40.000000",
        b"2025-12-30 21:14:40.000000",
        "2025-12-30T21:14:40Z",
        "2025-12-30T23:14:40+02:00",
        "2025-12-30 16:14:40.000-05:00",
        "2025-12-30 21:14:40 UTC",
        "2025-12-30 21:14:40 +0000",
        "2025-12-30 21:14:40+00",
        "2025-12-30T21:14:40.000000000",
        "2025.12.30 21:14:40",
        "2025/12/30 21:14:40",
        " 2025-12-30 21:14:40 ",
        1767129280,
        1767129280.0,
        1767129280_000,
        1767129280_000_000,
        1767129280_000_000_000,
        "1767129280",
        b"1767129280000",
        "1767129280.000",
        datetime(2025, 12, 30, 21, 14, 40),  # noqa: DTZ001  # naive is a form that occurs
        datetime(2025, 12, 30, 21, 14, 40, tzinfo=UTC),
    ],
)
def test_b7_every_form_of_a_moment_is_the_same_moment(value):
    """The engine writes naive UTC, other writers do not; one parser reads them all."""
    assert parse_micros(value) == MOMENT


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "yesterday",
        "20251230T211440",
        20251230,
        "20251230211440",
        "12/30/2025 21:14",
        "30.12.2025 21:14",
        "2025-12-30 24:00:00",
        "2025-02-30",
        "2025-12-30 21:14:40+99:00",
        True,
        float("nan"),
        float("inf"),
        10**400,
        "2025-W52-2 21:14",
        "2025-13-01 00:00:00",
        "1970-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "0001-01-01 00:00:00+14:00",
        b"\xff2025-12-30 21:14:40",
        "2025-12-30 21:14:40\x00",
    ],
)
def test_b7_what_is_no_moment_is_none(value):
    """A guessed moment would put the row into the wrong part of the split."""
    assert parse_micros(value) is None


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 12, 31)))  # noqa: DTZ001
@settings(deadline=None)
def test_b7_a_stored_moment_is_read_to_the_microsecond(moment):
    """Label intervals are compared to the microsecond; a float would blur them."""
    assert parse_micros(moment.isoformat(sep=" ")) == to_micros(moment.replace(tzinfo=UTC))


@given(st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.datetimes())
@settings(deadline=None)
def test_b7_nothing_makes_the_reader_raise(value):
    """One broken row must not end the reading of a million."""
    assert parse_micros(value) is None or isinstance(parse_micros(value), int)


def test_b7_a_date_alone_is_its_midnight():
    """Daily candles have dates, and a candle's time is its opening."""
    assert parse_micros("2025-12-30") == to_micros(datetime(2025, 12, 30, tzinfo=UTC))
    assert parse_micros("2025-1-3 4:05") == to_micros(datetime(2025, 1, 3, 4, 5, tzinfo=UTC))


@pytest.mark.parametrize("unit", UNITS)
def test_b7_no_number_is_a_moment_in_two_units(unit):
    """Only then is a number without its unit unambiguous."""
    first, last = (to_micros(datetime(year, 1, 1, tzinfo=UTC)) for year in (2000, 2100))
    for other, scale in UNITS.items():
        overlap = first / UNITS[unit] < last / scale and first / scale < last / UNITS[unit]
        assert overlap == (other == unit)
    assert epoch_unit(int(MOMENT / UNITS[unit])) == unit


@given(st.lists(st.integers(min_value=0, max_value=2**63 - 1), max_size=20))
@settings(deadline=None)
def test_b7_a_column_of_numbers_is_read_like_each_number(numbers):
    """Files are read by the column, rows of a store one by one."""
    column = parse_epochs(np.array(numbers, dtype=np.int64)).tolist()
    assert [None if micros == UNREADABLE else micros for micros in column] == list(map(parse_micros, numbers))
