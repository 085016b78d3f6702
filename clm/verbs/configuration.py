"""Settings for every entry: the environment, and clm.env as systemd reads it."""

from pathlib import Path

import structlog

from clm.engine.env_file import parse
from clm.engine.env_lost import lost_lines
from clm.errors import ConfigError, PromotionError
from clm.settings import NAMES, Settings, config_file, load_settings, old_names

log = structlog.get_logger()


def settings_for(store: Path | None = None) -> Settings:
    """Return the settings; the command line uses those that the daemon uses.

    Raises:
        ConfigError: CONFIG_INVALID, also for each line that systemd would drop; CONFIG_UNREADABLE.
    """
    path, data = config_file(), _content()
    problems = [f"{path} {problem}" for problem in lost_lines(data, frozenset(NAMES.values()))]
    return load_settings(parse(data), {} if store is None else {"store": store}, problems)


def old_names_in_use() -> dict[str, str]:
    """Return the names of 0.1 that are set, each with what replaces it."""
    return old_names(parse(_content()))


def warn_of_old_names() -> None:
    """Log once which settings have new names."""
    if old := old_names_in_use():
        log.warning("settings.renamed", **old)


def _content() -> bytes:
    path = config_file()
    try:
        data = path.read_bytes()
        parse(data)
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise ConfigError("CONFIG_UNREADABLE", f"{path} cannot be read: {exc.strerror}") from exc
    except PromotionError as exc:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: {exc.message}") from exc
    return data
