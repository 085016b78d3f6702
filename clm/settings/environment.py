"""The only readers of the environment."""

import os
from pathlib import Path

from clm.errors import ConfigError
from clm.settings.derived import Settings
from clm.settings.fields import below
from clm.settings.section import PREFIX

CONFIG_FILE = Path("/etc/quantum/clm.env")
"""Read by systemd for the daemon, and by the command line for everybody else; below CLM_ROOT."""


def given() -> dict[str, str]:
    """Return every CLM_ variable of the environment, known or not."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def config_file() -> Path:
    """Return where clm.env lies, below CLM_ROOT where that is set."""
    root = os.environ.get(PREFIX + "ROOT")
    return below(Path(root), CONFIG_FILE) if root else CONFIG_FILE


def inherited_environment() -> dict[str, str]:
    """Return what child processes may inherit: no secrets, no settings."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ}


def runs_under_journal() -> bool:
    """Return whether stderr goes to the journal (systemd sets JOURNAL_STREAM)."""
    return "JOURNAL_STREAM" in os.environ


def redis_password(settings: Settings) -> str | None:
    """Return the password from the file or the systemd credential, None where there is none.

    Raises:
        ConfigError: REDIS_PASSWORD_UNREADABLE.
    """
    path = settings.redis_password_file
    if path is None and (directory := os.environ.get("CREDENTIALS_DIRECTORY")):
        credential = Path(directory) / "redis-password"
        path = credential if credential.exists() else None
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError("REDIS_PASSWORD_UNREADABLE", f"{path} cannot be read: {exc}") from exc
