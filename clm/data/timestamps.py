"""Convert the store's timestamps, in every form that occurs, to integer microseconds."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from clm.clock import to_micros
from clm.domain.sample import Ints

UNREADABLE = np.iinfo(np.int64).min
"""Marks an unreadable time in a column."""

_EARLIEST = to_micros(datetime(2000, 1, 1, tzinfo=UTC))
_LATEST = to_micros(datetime(2100, 1, 1, tzinfo=UTC))
_SHORTEST = len("2025-12-30 21:14")

_USUAL = b"2025-12-30 21:14:40.123456"
_WITHOUT_FRACTION = len(b"2025-12-30 21:14:40")
_TENS = np.array([0, 2, 5, 8, 11, 14, 17, 20, 22, 24])
"""Where the century, the year in it, month, day, hour, minute, second and the pairs of a fraction begin."""
_SIGNS = np.array([4, 7, 10, 13, 16, 19, 26])
_SIGNS_ARE = np.frombuffer(b"-- ::.,", dtype=np.uint8)[:, np.newaxis]
_MONTHS = np.arange("2000-01", "2100-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
"""First day of each month from 2000 on."""


def parse_micros(value: object) -> int | None:
    """Return microseconds since 1970 UTC; None for whatever is not a moment between 2000 and 2100.

    Text is `YYYY-MM-DD HH:MM[:SS[.ffffff]]`, a space or a T between, naive (taken as UTC), with an offset
    or with Z. Plain numbers are refused: seconds and milliseconds since 1970 cannot be distinguished.
    """
    moment = value if isinstance(value, datetime) else _read(value)
    if moment is None:
        return None
    micros = to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return micros if _EARLIEST <= micros < _LATEST else None


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
    for row in np.flatnonzero((micros_R == UNREADABLE) & (lengths_R > 0)).tolist():
        micros = parse_micros(texts[row])
        if micros is not None:
            micros_R[row] = micros
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


def _read(value: object) -> datetime | None:
    try:
        text = value.decode() if isinstance(value, bytes) else value
        if not isinstance(text, str) or len(text) < _SHORTEST or "\0" in text:
            return None
        # fromisoformat reads week dates and bare digits too; the store never means those.
        looks_right = text[4] == text[7] == "-" and text[10] in " T"
        return datetime.fromisoformat(text) if looks_right else None
    except ValueError:
        return None
