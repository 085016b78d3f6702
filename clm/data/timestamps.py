"""Timestamps of stores and candle files to integer microseconds; one reader for every form that occurs."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from clm.clock import SECOND, to_micros
from clm.domain.sample import Floats, Ints

UNREADABLE = np.iinfo(np.int64).min
"""Marks an unreadable time in a column."""

_EARLIEST = to_micros(datetime(2000, 1, 1, tzinfo=UTC))
_LATEST = to_micros(datetime(2100, 1, 1, tzinfo=UTC))

_FORM = re.compile(
    r"(?P<year>\d{4})(?P<sign>[-./])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})"
    r"(?:(?:T| +)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?:(?P<utc>Z|UTC|GMT)|(?P<ahead>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?)?)?",
    re.IGNORECASE | re.ASCII,
)
_EPOCH = re.compile(r"\d{9,20}(?:\.\d+)?", re.ASCII)
_MOST_CHARACTERS = 40
_DIGITS = 18
"""As many always fit into 64 bits."""
_FURTHEST_ZONE_S = 14 * 3600

UNITS = {"seconds": 1_000_000.0, "milliseconds": 1_000.0, "microseconds": 1.0, "nanoseconds": 0.001}
"""Units of a number since 1970, and how many microseconds one is. Between 2000 and 2100 no number is a moment
in two of them."""

_USUAL = b"2025-12-30 21:14:40.123456"
_WITHOUT_FRACTION = len(b"2025-12-30 21:14:40")
_TENS = np.array([0, 2, 5, 8, 11, 14, 17, 20, 22, 24])
"""Where the century, the year in it, month, day, hour, minute, second and the pairs of a fraction begin."""
_SIGNS = np.array([4, 7, 10, 13, 16, 19, 26])
_SIGNS_ARE = np.frombuffer(b"-- ::.,", dtype=np.uint8)[:, np.newaxis]
_MONTHS = np.arange("2000-01", "2100-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
"""First day of each month from 2000 on."""


def parse_micros(value: object) -> int | None:
    """Return microseconds since 1970 UTC; None for anything that is not a moment between 2000 and 2100.

    Text is `YYYY-MM-DD[ HH:MM[:SS[.fffffffff]]]`, with a space or a T, with dots or slashes instead of
    dashes, naive (read as UTC), with an offset, with Z, UTC or GMT. A date alone is its midnight. A number,
    also as text, is seconds, milliseconds, microseconds or nanoseconds since 1970, whichever is between
    2000 and 2100. Text with the day or the month first is ambiguous, and no moment.
    """
    if isinstance(value, datetime):
        micros = to_micros(value if value.tzinfo else value.replace(tzinfo=UTC))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return _of_number(value)
    else:
        text = _decoded(value)
        if _EPOCH.fullmatch(text):
            return _of_number(float(text) if "." in text else int(text))
        read = _of_text(text)
        if read is None:
            return None
        micros = read
    return micros if _EARLIEST <= micros < _LATEST else None


def epoch_unit(value: object) -> str:
    """Return the unit of a number since 1970, a key of UNITS, and "" for anything else."""
    if isinstance(value, bool):
        return ""
    text = str(value) if isinstance(value, (int, float)) else _decoded(value)
    if not _EPOCH.fullmatch(text):
        return ""
    return next((unit for unit, scale in UNITS.items() if _EARLIEST <= float(text) * scale < _LATEST), "")


def parse_joined(texts: bytes, count: int) -> Ints | None:
    """Return parse_micros of each of `count` texts joined by commas, with UNREADABLE for None.

    Return None if a text contains a comma.
    """
    if len(texts) == count * (len(_USUAL) + 1) - 1:
        micros_R = _parse_usual(texts + b",", count)
        if (micros_R != UNREADABLE).all():
            return micros_R
    each = texts.split(b",")
    return parse_each(each) if len(each) == count else None


def parse_each(texts: Sequence[bytes]) -> Ints:
    """Return parse_micros of each text, with UNREADABLE for None."""
    usual = [text + b".000000" if len(text) == _WITHOUT_FRACTION else text for text in texts]
    lengths_R = np.fromiter(map(len, usual), dtype=np.int64, count=len(usual))
    fits_R = lengths_R == len(_USUAL)
    micros_R = np.full(len(usual), UNREADABLE, dtype=np.int64)
    fitting = usual if fits_R.all() else [text for text in usual if len(text) == len(_USUAL)]
    micros_R[fits_R] = _parse_usual(b",".join([*fitting, b""]), len(fitting))
    rest = np.flatnonzero((micros_R == UNREADABLE) & (lengths_R > 0)).tolist()
    if rest and all(texts[row].isdigit() and len(texts[row]) <= _DIGITS for row in rest):
        micros_R[rest] = parse_epochs(np.array([int(texts[row]) for row in rest], dtype=np.int64))
        return micros_R
    for row in rest:
        micros = parse_micros(texts[row])
        if micros is not None:
            micros_R[row] = micros
    return micros_R


def parse_epochs(numbers_R: Ints | Floats) -> Ints:
    """Return the moments of numbers since 1970 in any unit of UNITS, UNREADABLE where it is none."""
    micros_R = np.full(len(numbers_R), UNREADABLE, dtype=np.int64)
    for scale in UNITS.values():
        # Whole numbers stay whole: a double cannot hold every nanosecond, nor every half microsecond.
        whole = np.issubdtype(numbers_R.dtype, np.integer)
        earliest, latest = (int(bound / scale) for bound in (_EARLIEST, _LATEST))
        meant_R = (numbers_R >= earliest) & (numbers_R < latest)
        if whole:
            micros_R[meant_R] = numbers_R[meant_R] * int(scale) if scale >= 1 else numbers_R[meant_R] // 1000
        else:
            micros_R[meant_R] = np.round(numbers_R[meant_R] * scale).astype(np.int64)
    return micros_R


def _parse_usual(texts: bytes, count: int) -> Ints:
    """Read texts of the usual form, each followed by a comma; UNREADABLE for other forms.

    Every position is checked, so that texts whose lengths merely add up do not pass.
    """
    signs_SR = np.frombuffer(texts, dtype=np.uint8).reshape(count, len(_USUAL) + 1).T.copy()
    tens_PR = signs_SR[_TENS] - np.uint8(ord("0"))  # characters below the digits wrap around to large values
    ones_PR = signs_SR[_TENS + 1] - np.uint8(ord("0"))
    pairs_PR = tens_PR * np.uint8(10) + ones_PR
    century, year, month, day, hour, minute, second, *fraction = pairs_PR
    good_R = (np.maximum(tens_PR, ones_PR).max(axis=0) <= 9) & (signs_SR[_SIGNS] == _SIGNS_ARE).all(axis=0)
    good_R &= (century == 20) & (month - np.uint8(1) < 12) & (hour < 24) & (minute < 60) & (second < 60)
    at = np.where(good_R, year.astype(np.int64) * 12 + month - 1, 0)
    first_R = _MONTHS[at]
    good_R &= (day > 0) & (day <= _MONTHS[at + 1] - first_R)
    seconds = ((first_R + day - 1) * 24 + hour) * 3600 + minute * np.int64(60) + second
    tail = (fraction[0] * np.int64(100) + fraction[1]) * 100 + fraction[2]
    return np.where(good_R, seconds * 1_000_000 + tail, UNREADABLE)


def _of_number(value: float) -> int | None:
    for scale in UNITS.values():
        if _EARLIEST / scale <= value < _LATEST / scale:
            if isinstance(value, int):
                return value * int(scale) if scale >= 1 else value // 1000
            return round(value * scale)
    return None


def _of_text(text: str) -> int | None:
    """Return the moment of a text, in any year; None where it is not of the form or not in the calendar."""
    found = _FORM.fullmatch(text)
    if not found:
        return None
    part = found.groupdict(default="0")
    ahead_s = (int(part["hours"]) * 60 + int(part["minutes"])) * 60
    if int(part["minutes"]) > 59 or ahead_s > _FURTHEST_ZONE_S:
        return None
    try:
        day = datetime(int(part["year"]), int(part["month"]), int(part["day"]), tzinfo=UTC)
        moment = day.replace(hour=int(part["hour"]), minute=int(part["minute"]), second=int(part["second"]))
    except ValueError:
        return None
    micros = to_micros(moment) + int(part["fraction"].ljust(6, "0")[:6])
    return micros - (-1 if part["ahead"] == "-" else 1) * ahead_s * SECOND


def _decoded(value: object) -> str:
    """Return text without blanks around it, and "" for what is not text or too long for a moment."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return ""
    return text.strip(" ") if isinstance(text, str) and len(text) <= _MOST_CHARACTERS else ""
