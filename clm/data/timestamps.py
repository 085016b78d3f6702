"""Timestamps of the store to integer microseconds; one reader for every form that occurs."""

from datetime import UTC, datetime

from clm.clock import to_micros

_EARLIEST = to_micros(datetime(2000, 1, 1, tzinfo=UTC))
_LATEST = to_micros(datetime(2100, 1, 1, tzinfo=UTC))
_SHORTEST = len("2025-12-30 21:14")


def parse_micros(value: object) -> int | None:
    """Return microseconds since 1970 UTC; None for whatever is not a moment between 2000 and 2100.

    Text is `YYYY-MM-DD HH:MM[:SS[.ffffff]]`, a space or a T between, naive (taken as UTC), with an offset
    or with Z. Plain numbers are refused: seconds and milliseconds since 1970 cannot be told apart for sure.
    """
    moment = value if isinstance(value, datetime) else _read(value)
    if moment is None:
        return None
    micros = to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return micros if _EARLIEST <= micros < _LATEST else None


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
