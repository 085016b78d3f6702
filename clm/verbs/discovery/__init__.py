"""`clm discover`: the data on this server and its use for this model; nothing is changed."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from clm.clock import SystemClock
from clm.settings import Settings, below
from clm.verbs.discovery.assets import Asset, printable
from clm.verbs.discovery.files import Walk
from clm.verbs.discovery.samples import store_facts
from clm.verbs.discovery.server import file_systems, model_settings, model_units, redis_facts

__all__ = ["Asset", "Discovery", "discover"]

_UNITS = (Path("/etc/systemd/system"), Path("/run/systemd/system"), Path("/lib/systemd/system"))
_ELSEWHERE = (Path("/opt/quantum/data"), Path("/var/lib/redis"))
_HOMES = Path("/home")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """The inventory."""

    file_systems: list[dict[str, object]]
    store: dict[str, object]
    assets: tuple[Asset, ...]
    """Usable assets first, without the store itself."""
    redis: dict[str, object]
    units: list[dict[str, object]]
    env_files: list[dict[str, object]]
    unreadable: tuple[str, ...]
    passed_over: dict[str, int]
    seconds: float


def discover(settings: Settings) -> Discovery:
    """Examine everything that the settings refer to; unreadable items are reported, never raised."""
    clock = SystemClock()
    began = clock.monotonic()
    walk = Walk()
    found = [asset for asset in walk.assets(_roots(settings)) if asset.path != printable(settings.store)]
    traps = [*walk.databases_in(_homes(settings))]
    env_directory = settings.engine_env_file.parent
    return Discovery(
        file_systems=file_systems(
            {
                "runs and artefacts": settings.state_dir,
                "store": settings.store.parent,
                "models": settings.models_dir,
                "engine's environment file": env_directory,
                "temporary files": Path(tempfile.gettempdir()),
            }
        ),
        store=store_facts(settings.store),
        assets=tuple(sorted([*found, *traps], key=lambda asset: (not asset.usable, asset.kind, asset.path))),
        redis=redis_facts(settings),
        units=model_units(_below(settings, path) for path in _UNITS),
        env_files=model_settings(sorted(env_directory.glob("*.env"))),
        unreadable=tuple(walk.unreadable),
        passed_over=dict(walk.passed_over.most_common()),
        seconds=clock.monotonic() - began,
    )


def _roots(settings: Settings) -> list[Path]:
    """Return directories that may contain data: near the store, candles and models, and common places."""
    named = [settings.store.parent, settings.candles_dir, settings.models_dir]
    return list(dict.fromkeys([*named, *(_below(settings, path) for path in _ELSEWHERE)]))


def _homes(settings: Settings) -> list[Path]:
    """Return the users' home directories: files from mistyped paths end up there."""
    try:
        return sorted(path for path in _below(settings, _HOMES).iterdir() if path.is_dir())
    except OSError:
        return []


def _below(settings: Settings, path: Path) -> Path:
    return below(settings.root, path) if settings.root else path
