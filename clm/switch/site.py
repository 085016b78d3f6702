"""The helper's paths and limits, from root's settings file; the defaults equal those of clm.settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.domain.line import DEFAULT_LINE, Line
from clm.engine.env_file import EnvFile
from clm.errors import ConfigError

_MAX_FILE_MB, _OLD_MAX_FILE_MB = "CLM_GATES__MAX_FILE_MB", "CLM_MAX_FILE_MB"
DEFAULTS: Mapping[str, str] = {
    "CLM_ENGINE_ENV_FILE": "/etc/quantum/ai-engine.env",
    "CLM_MODELS_DIR": "/opt/quantum/ai_engine/models",
    "CLM_STATE_DIR": "/var/lib/quantum-clm",
    "CLM_ENGINE_UNIT": DEFAULT_LINE.engine_unit,
    "CLM_GATES__MAX_FILE_MB": "50.0",
}
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*\.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The helper's configuration."""

    line: Line
    env_file: EnvFile
    models_dir: Path
    artefacts_dir: Path
    """The registry, one directory per version; the daemon's user writes it."""
    own_dir: Path
    """Notes of models that were installed or found in the environment file; only root writes here."""
    engine_unit: str
    max_file_bytes: int
    """A model file above this size is not read."""
    is_sandboxed: bool = True
    """Whether systemd mounts the models directory separately."""


def site_of(environment: Mapping[str, str], own_dir: Path) -> Site:
    """Return the site for these variables.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    values = {name: environment.get(name) or default for name, default in DEFAULTS.items()}
    if _OLD_MAX_FILE_MB in environment and _MAX_FILE_MB not in environment:
        values[_MAX_FILE_MB] = environment[_OLD_MAX_FILE_MB]
    for name in ("CLM_ENGINE_ENV_FILE", "CLM_MODELS_DIR", "CLM_STATE_DIR"):
        if not values[name].startswith("/") or ".." in Path(values[name]).parts:
            raise ConfigError("CONFIG_INVALID", f"{name}={values[name]!r} must be an absolute path")
    if not _UNIT.fullmatch(values["CLM_ENGINE_UNIT"]):
        raise ConfigError("CONFIG_INVALID", f"CLM_ENGINE_UNIT={values['CLM_ENGINE_UNIT']!r} is not a service")
    try:
        max_file_mb = float(values[_MAX_FILE_MB])
    except ValueError:
        max_file_mb = 0.0
    if not 0 < max_file_mb <= 10_000:
        raise ConfigError("CONFIG_INVALID", f"{_MAX_FILE_MB}={values[_MAX_FILE_MB]!r} must be 0 to 10000")
    return Site(
        line=DEFAULT_LINE,
        env_file=EnvFile(Path(values["CLM_ENGINE_ENV_FILE"]), locks=False),
        models_dir=Path(values["CLM_MODELS_DIR"]),
        artefacts_dir=Path(values["CLM_STATE_DIR"]) / "artefacts",
        own_dir=own_dir,
        engine_unit=values["CLM_ENGINE_UNIT"],
        max_file_bytes=int(max_file_mb * 1_000_000),
    )
