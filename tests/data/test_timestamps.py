"""Moments of the store, in every form that occurs (fault B7)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import to_micros
from clm.data.timestamps import parse_micros

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
        "2025-12-30",
        "20251230T211440",
        "2025-W52-2 21:14",
        "2025-13-01 00:00:00",
        "1970-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "0001-01-01 00:00:00+14:00",
        1767129280,
        1767129280.5,
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
