"""When the next cycle may begin: a burst of triggers must not cause a burst of trainings."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

DAY = timedelta(days=1)


def not_before(
    started: Sequence[datetime],
    now: datetime,
    *,
    interrupted: Collection[datetime] = (),
    min_interval_min: float,
    max_a_day: int,
) -> datetime | None:
    """Return when the next cycle may begin, or None if it may begin now.

    `started` lists the start times of the latest `max_a_day` runs. A start in the future comes from a clock
    that was set back, and is ignored. After an `interrupted` run, stopped or crashed, the next begins
    immediately, because its task is unfinished. It counts towards the daily limit, which bounds crash loops.
    """
    past = sorted(moment for moment in started if moment <= now)
    ended = [moment for moment in past if moment not in interrupted]
    allowed = [moment + timedelta(minutes=min_interval_min) for moment in ended[-1:]]
    today = [moment for moment in past if moment > now - DAY]
    if len(today) >= max_a_day:
        # The day is a sliding window, not a calendar day: otherwise two days' runs could meet at midnight.
        allowed.append(today[-max_a_day] + DAY)
    return max((moment for moment in allowed if moment > now), default=None)
