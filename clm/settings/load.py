"""Settings from what was given, with every problem at once."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from clm.errors import ConfigError
from clm.settings.derived import Settings
from clm.settings.environment import given
from clm.settings.fields import PREFIX

RETIRED = {
    "CLM_SWITCH": "root's helper makes every switch of a systemd unit; remove the line",
}
"""Settings of earlier versions that have no effect any more, each with what to do."""


def load_settings(
    file_values: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> Settings:
    """Return the settings: overrides before the environment before the values of clm.env before defaults.

    Raises:
        ConfigError: CONFIG_INVALID with every problem at once, unknown CLM_ names included.
    """
    named = {**{k: v for k, v in (file_values or {}).items() if k.startswith(PREFIX)}, **given()}
    known = {*Settings.model_fields, *map(_field, RETIRED)}
    problems = [_unknown(name) for name in sorted(named) if _field(name) not in known]
    values: dict[str, Any] = {_field(k): v for k, v in named.items() if _field(k) in Settings.model_fields}
    try:
        settings = Settings(**{**values, **(overrides or {})})
    except ValidationError as exc:
        problems += [_problem(error) for error in exc.errors()]
        raise ConfigError("CONFIG_INVALID", _all(problems)) from exc
    if problems:
        raise ConfigError("CONFIG_INVALID", _all(problems))
    return settings


def _field(name: str) -> str:
    return name.removeprefix(PREFIX).lower()


def _unknown(name: str) -> str:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"{name} is no setting" + (f", did you mean {near[0]}?" if near else "")


def _problem(error: Mapping[str, Any]) -> str:
    where = "".join(str(part) for part in error["loc"][:1])
    reason = str(error["msg"]).removeprefix("Value error, ")
    if not where:
        return reason
    shown = "(not shown)" if where == "redis_url" else f"{error['input']!s:.80}"
    return f"{PREFIX}{where.upper()}={shown}: {reason}"


def _all(problems: list[str]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return f"{count} in the settings: " + "; ".join(problems)
