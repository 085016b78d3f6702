"""Settings for every entry: the environment, and clm.env as systemd would read it."""

from collections.abc import Mapping
from pathlib import Path

from clm.engine.env_file import parse
from clm.errors import ConfigError
from clm.settings import Settings, config_file, load_settings


def settings_for(store: Path | None = None) -> Settings:
    """Return the settings; a person at the command line gets those that the daemon gets.

    Raises:
        ConfigError: CONFIG_INVALID, CONFIG_UNREADABLE.
    """
    overrides = {} if store is None else {"store": store}
    return load_settings(_file_values(config_file()), overrides)


def _file_values(path: Path) -> Mapping[str, str]:
    if not path.exists():
        return {}
    try:
        return parse(path.read_bytes())
    except OSError as exc:
        raise ConfigError("CONFIG_UNREADABLE", f"{path} cannot be read: {exc.strerror}") from exc
