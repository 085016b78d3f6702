"""All settings, read once at the start. Only this package reads the environment."""

from clm.settings.derived import Settings
from clm.settings.environment import (
    CONFIG_FILE,
    config_file,
    inherited_environment,
    redis_password,
    runs_under_journal,
)
from clm.settings.example import as_text, example_env
from clm.settings.fields import below
from clm.settings.load import load_settings, old_names
from clm.settings.names import NAMES, named

__all__ = [
    "CONFIG_FILE",
    "NAMES",
    "Settings",
    "as_text",
    "below",
    "config_file",
    "example_env",
    "inherited_environment",
    "load_settings",
    "named",
    "old_names",
    "redis_password",
    "runs_under_journal",
]
