"""How soon the next cycle may begin: a storm of triggers must not become a storm of trainings."""

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
    """Return when the next cycle may begin, None where it may now.

    `started` holds when the latest `max_a_day` runs began. One that began later than now was written by
    a clock that has been put back, and holds nobody up. After one that was `interrupted`, by a stop or a
    crash, the next begins at once, its task is still owed an answer; but it counts for its day, so that a
    machine that dies of training does not do so all day long.
    """
    past = sorted(moment for moment in started if moment <= now)
    ended = [moment for moment in past if moment not in interrupted]
    allowed = [moment + timedelta(minutes=min_interval_min) for moment in ended[-1:]]
    today = [moment for moment in past if moment > now - DAY]
    if len(today) >= max_a_day:
        allowed.append(today[-max_a_day] + DAY)
    return max((moment for moment in allowed if moment > now), default=None)
