"""Load the settings from clm.env, the environment and overrides, and report all problems at once."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from clm.errors import ConfigError
from clm.settings.derived import Settings
from clm.settings.environment import given
from clm.settings.names import (
    DISK_OF_THE_FIRST_EDITION,
    FIELDS,
    FOLLOWING,
    OLD_FIELDS,
    RENAMED,
    RETIRED,
    named,
)
from clm.settings.section import PREFIX

_INTERVAL, _CRON, _SCHEDULE = "CLM_RETRAIN_INTERVAL_H", "CLM_RETRAIN_CRON", "CLM_SCHEDULE"
_DISK = ("CLM_DISK_MARK", "CLM_TRAIN_MIN_FREE_MB", "CLM_MIN_FREE_MB", "CLM_TRAIN_MIN_FREE_SHARE")


def load_settings(
    file_values: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    problems: Sequence[str] = (),
) -> Settings:
    """Return the settings. Precedence: overrides, the environment, clm.env, defaults.

    `overrides` is keyed by field. `problems` are problems of clm.env as a file.

    Raises:
        ConfigError: CONFIG_INVALID with every problem at once, unknown CLM_ names included.
    """
    # A file shared with other programs may have their variables, too.
    of_file = {k: v for k, v in (file_values or {}).items() if k.startswith(PREFIX)}
    of_environment = given()
    found = [
        *problems,
        *_unknown(of_file | of_environment),
        # Each source separately: the environment may override the file on purpose.
        *_in_conflict(of_file),
        *_in_conflict(of_environment),
    ]
    values: dict[str, Any] = {**_fields(of_file), **_fields(of_environment), **(overrides or {})}
    try:
        # An operator should fix the file once, so problems are collected and not raised one by one.
        settings = Settings(**values)
    except ValidationError as exc:
        found += [_problem(error) for error in exc.errors()]
        raise ConfigError("CONFIG_INVALID", _all(found)) from exc
    if found:
        raise ConfigError("CONFIG_INVALID", _all(found))
    return settings


def old_names(file_values: Mapping[str, str]) -> dict[str, str]:
    """Return the names of 0.1 that are in use, with the name or the setting that replaces each."""
    used = {**file_values, **given()}
    return {old: new for old, new in {**RENAMED, **FOLLOWING, **RETIRED}.items() if old in used}


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    """Return one source's values by field; a current name takes precedence over one of 0.1."""
    fields: dict[str, Any] = {}
    # In 0.1 these thresholds were independent, so an old file keeps its old defaults.
    if any(name in values for name in _DISK):
        fields |= DISK_OF_THE_FIRST_EDITION
    if schedule := _old_schedule(values):
        fields["schedule"] = schedule
    fields |= {field: values[old] for old, field in OLD_FIELDS.items() if old in values}
    return fields | {field: values[name] for name, field in FIELDS.items() if name in values}


def _old_schedule(values: Mapping[str, str]) -> str | None:
    """Return the schedule that the two settings of 0.1 described."""
    if cron := values.get(_CRON, "").strip():
        return cron
    if (hours := values.get(_INTERVAL, "").strip()) == "":
        return None
    try:
        return "off" if float(hours) == 0 else f"{float(hours):.12g}h"
    except ValueError:
        return f"{hours}h"


def _in_conflict(values: Mapping[str, str]) -> list[str]:
    """Return where one source gives an old and a new name different values."""
    pairs = [(old, name) for old, name in RENAMED.items() if old in values and name in values]
    found = [
        f"{old}={values[old]} and {name}={values[name]} set the same thing; keep the second"
        for old, name in pairs
        if values[old] != values[name] and "URL" not in name
    ]
    schedule = _old_schedule(values)
    if schedule and _SCHEDULE in values and values[_SCHEDULE] != schedule:
        found.append(
            f"{_SCHEDULE}={values[_SCHEDULE]} and {_INTERVAL} or {_CRON} ({schedule}) set the same thing; "
            f"keep {_SCHEDULE}"
        )
    return found


def _unknown(names: Mapping[str, str]) -> list[str]:
    known = {*FIELDS, *RENAMED, *FOLLOWING, *RETIRED}
    return [f"{name} is not a setting{_suggestion(name)}" for name in sorted(names) if name not in known]


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, [*FIELDS, *RENAMED], n=1, cutoff=0.6)
    return f", did you mean {RENAMED.get(near[0], near[0])}?" if near else ""


def _problem(error: Mapping[str, Any]) -> str:
    where = "".join(str(part) for part in error["loc"][:1])
    reason = str(error["msg"]).removeprefix("Value error, ")
    if not where:
        return reason
    # The URL may contain a password.
    shown = "(not shown)" if where == "redis_url" else f"{error['input']!s:.80}"
    return f"{named(where)}={shown}: {reason}"


def _all(problems: Sequence[str]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return f"{count} in the settings: " + "; ".join(problems)
