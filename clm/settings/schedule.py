"""Parse the schedule: an interval between retrains, a cron expression, or off."""

import re

from clm.settings.cron import crontab

_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*([mhd])")
_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}
_MIN_HOURS, _MAX_HOURS = 0.1, 24.0 * 366


def parse_schedule(text: str) -> tuple[float, str]:
    """Return the hours between retrains (0 for none) and the cron expression (empty for none).

    Raises:
        ValueError: neither an interval of 6 minutes to 366 days, nor a cron expression, nor `off`.
    """
    if text.strip() == "off":
        return 0.0, ""
    if found := _INTERVAL.fullmatch(text.strip()):
        hours = float(found[1]) * _HOURS[found[2]]
        if not _MIN_HOURS <= hours <= _MAX_HOURS:
            raise ValueError("must be between 6m and 366d, or off")
        return hours, ""
    # Checked first, so that the message names all three forms and not only cron's.
    if len(text.split()) != 5:
        raise ValueError("is neither a time (30m, 24h, 7d), nor a cron expression of five fields, nor off")
    crontab(text)
    return 0.0, text
