"""Translate cron expressions from the rules of crontab(5) to those of APScheduler."""

import re
from datetime import UTC, datetime, tzinfo

from apscheduler.triggers.cron import CronTrigger

from clm.errors import ConfigError

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERED = re.compile(r"(?:(?P<all>\*)|(?P<first>[0-7])(?:-(?P<last>[0-7]))?)(?:/(?P<step>[1-7]))?")


def parse_cron(text: str, zone: tzinfo = UTC, *, now: datetime | None = None) -> CronTrigger:
    """Return the trigger of a five-field cron expression; weekday 0 and 7 are Sunday.

    If `now` is given, an expression that is never due after it is an error.

    Raises:
        ConfigError: CRON_INVALID.
    """
    try:
        trigger = crontab(text, zone)
    except (ValueError, TypeError) as exc:
        raise _invalid(text, str(exc)) from exc
    if now is not None and trigger.get_next_fire_time(None, now) is None:
        raise _invalid(text, "it never comes due")
    return trigger


def _invalid(text: str, why: str) -> ConfigError:
    return ConfigError(
        "CRON_INVALID",
        f"CLM_SCHEDULE={text!r} cannot be used: {why}; "
        f"write minute hour day month weekday, for example 30 3 * * *",
    )


def crontab(text: str, zone: tzinfo = UTC) -> CronTrigger:
    """Return the trigger; ValueError says what is wrong with the text."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields, not 5")
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        # crontab(5) takes either, APScheduler both; a guess would train on the wrong day.
        raise ValueError("it names days of the month and of the week, use one of them")
    return CronTrigger(
        minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday), timezone=zone
    )


def _weekdays(field: str) -> str:
    """Return the field with numbers as names, because APScheduler 3 counts from Monday."""
    if field == "*":
        return field
    return ",".join(_named(part) for part in field.split(","))


def _named(part: str) -> str:
    match = _NUMBERED.fullmatch(part)
    if not match:
        return part
    step = int(match["step"] or 1)
    if match["all"]:
        # A step counts from Sunday: `*/2` is Sunday, Tuesday, Thursday, Saturday.
        first, last = 0, 6
    else:
        first = int(match["first"])
        # `3/2` means from Wednesday to the end of the week, as in cron.
        last = int(match["last"] or (6 if match["step"] else first))
    if first > last:
        raise ValueError(f"weekdays {part} run backwards")
    return ",".join(_DAYS[day % 7] for day in range(first, last + 1, step))
