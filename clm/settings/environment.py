"""Access to environment variables. No other module reads them."""

import os
from pathlib import Path

from clm.errors import ConfigError
from clm.settings.derived import Settings
from clm.settings.fields import below
from clm.settings.section import PREFIX

CONFIG_FILE = Path("/etc/quantum/clm.env")
"""Read by systemd for the daemon, and by the command line itself; below CLM_ROOT."""


def given() -> dict[str, str]:
    """Return every CLM_ variable of the environment, known or not."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}


def config_file() -> Path:
    """Return the path of clm.env, below CLM_ROOT if that is set."""
    root = os.environ.get(PREFIX + "ROOT")
    return below(Path(root), CONFIG_FILE) if root else CONFIG_FILE


def inherited_environment() -> dict[str, str]:
    """Return what child processes may inherit: no secrets, no settings."""
    # A list of what is allowed: a child must not see a password that is added to the environment later.
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ}


def runs_under_journal() -> bool:
    """Return whether stderr goes to the journal (systemd sets JOURNAL_STREAM)."""
    return "JOURNAL_STREAM" in os.environ


def redis_password(settings: Settings) -> str | None:
    """Return the password from the file or the systemd credential, or None without one.

    Raises:
        ConfigError: REDIS_PASSWORD_UNREADABLE.
    """
    path = settings.redis_password_file
    if path is None and (directory := os.environ.get("CREDENTIALS_DIRECTORY")):
        # systemd.exec(5), LoadCredential=: the file exists only if the unit loads it.
        credential = Path(directory) / "redis-password"
        path = credential if credential.exists() else None
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError("REDIS_PASSWORD_UNREADABLE", f"{path} cannot be read: {exc}") from exc
