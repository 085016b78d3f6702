"""Where things lie, as root's settings file says; the defaults are those of clm.settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.errors import ConfigError
from clm.promotion.env_file import EnvFile

KEY = "PATCHTST_MODEL_PATH"
DEFAULTS: Mapping[str, str] = {
    "CLM_ENGINE_ENV_FILE": "/etc/quantum/ai-engine.env",
    "CLM_MODELS_DIR": "/opt/quantum/ai_engine/models",
    "CLM_STATE_DIR": "/var/lib/quantum-clm",
    "CLM_ENGINE_UNIT": "quantum-ai-engine.service",
}
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*\.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The server as the helper sees it."""

    env_file: EnvFile
    models_dir: Path
    artefacts_dir: Path
    """One directory a version with its manifest; the daemon's user writes it."""
    orders_dir: Path
    """The daemon's user writes it."""
    own_dir: Path
    """Root alone writes it: reports, and what was found in the environment file."""
    engine_unit: str


def site_of(environment: Mapping[str, str], own_dir: Path) -> Site:
    """Return the site that these variables describe.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    values = {name: environment.get(name) or default for name, default in DEFAULTS.items()}
    for name in ("CLM_ENGINE_ENV_FILE", "CLM_MODELS_DIR", "CLM_STATE_DIR"):
        if not values[name].startswith("/") or ".." in Path(values[name]).parts:
            raise ConfigError("CONFIG_INVALID", f"{name}={values[name]!r} must be an absolute path")
    if not _UNIT.fullmatch(values["CLM_ENGINE_UNIT"]):
        raise ConfigError("CONFIG_INVALID", f"CLM_ENGINE_UNIT={values['CLM_ENGINE_UNIT']!r} is no service")
    state = Path(values["CLM_STATE_DIR"])
    return Site(
        env_file=EnvFile(Path(values["CLM_ENGINE_ENV_FILE"])),
        models_dir=Path(values["CLM_MODELS_DIR"]),
        artefacts_dir=state / "artefacts",
        orders_dir=state / "switch",
        own_dir=own_dir,
        engine_unit=values["CLM_ENGINE_UNIT"],
    )
