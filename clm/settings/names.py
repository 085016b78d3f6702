"""The names of the settings in clm.env, and the replacements of the names of 0.1."""

from collections.abc import Mapping
from types import MappingProxyType

from clm.settings.fields import EVERYDAY, GROUPS
from clm.settings.groups import Replaced
from clm.settings.section import PREFIX

FIELDS: Mapping[str, str] = MappingProxyType(
    {name: field for section in (*EVERYDAY, *GROUPS) for name, field in section.names()}
)
"""Name in clm.env to field, in the order of the file."""

NAMES: Mapping[str, str] = MappingProxyType({field: name for name, field in FIELDS.items()})
"""Field to name in clm.env."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {old: name for field, name in NAMES.items() if (old := PREFIX + field.upper()) != name}
)
"""Name of 0.1 to current name; the values have the same form."""

FOLLOWING: Mapping[str, str] = MappingProxyType(
    {
        "CLM_RETRAIN_INTERVAL_H": "CLM_SCHEDULE, as in 24h",
        "CLM_RETRAIN_CRON": "CLM_SCHEDULE",
        "CLM_MIN_FREE_MB": "CLM_DISK__MIN_FREE_MB; it is a fifth of that",
        "CLM_TRAIN_MIN_FREE_SHARE": "CLM_DISK__MAX_USED_SHARE, half of what that leaves free",
        "CLM_TRAIN_PROCESSES": "CLM_LIMITS__THREADS and the number of cores",
    }
)
"""Names of 0.1 that were merged into others; they still work."""

RETIRED: Mapping[str, str] = MappingProxyType(
    {"CLM_SWITCH": "root's helper makes every switch of a systemd unit; remove the line"}
)
"""Names of 0.1 without effect, with the required action."""

OLD_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        **{old: FIELDS[name] for old, name in RENAMED.items()},
        **{PREFIX + field.upper(): field for field in Replaced.model_fields},
    }
)
"""Name of 0.1 to field."""

DISK_OF_THE_FIRST_EDITION: Mapping[str, object] = MappingProxyType(
    {"min_free_mb": 200, "train_min_free_share": 0.05}
)
"""Defaults that belong to an old name of a disk threshold, because 0.1 did not derive them."""


def named(field: str) -> str:
    """Return the name in clm.env of a field."""
    return NAMES.get(field, PREFIX + field.upper())
