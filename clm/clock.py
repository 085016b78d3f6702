"""The only reader of the clock."""

import time
from datetime import UTC, datetime

MICROSECOND = 1
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Units of the integer time axis, in microseconds since 1970-01-01 UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """The wall clock in aware UTC, and the monotonic clock for waits."""

    def now(self) -> datetime:
        """Return the wall-clock time as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime, without float rounding."""
    delta = moment - _EPOCH
    return delta.days * DAY + delta.seconds * SECOND + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of `micros` microseconds since 1970."""
    seconds, rest = divmod(int(micros), SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def iso(moment: datetime) -> str:
    """Return RFC 3339 text in UTC, to the microsecond, ending in Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
