"""The limits of a promotion and the parts it works with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clm.domain.architecture import EngineLoads
from clm.domain.line import Line
from clm.engine.env_file import EnvFile
from clm.engine.golden_answers import GoldenCheck
from clm.engine.health import Health
from clm.engine.journal import JournalWitness
from clm.ports import Clock, Engine, PromotionLog, Registry, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionPolicy:
    """Timeouts for the engine and preconditions of a promotion."""

    active_timeout_s: float = 150.0
    """Maximum time from the restart until the engine is active, on the right file and healthy."""
    stable_s: float = 60.0
    """How long it must stay so, without a new restart."""
    max_attempts: int = 2
    """Maximum verifications of one candidate, including interrupted ones; restarts of a rollback."""
    max_stores: int = 28
    """Maximum writes of one promotion's row, including recoveries: it bounds a crash loop."""
    mode: Literal["auto", "manual"] = "auto"
    """`manual` leaves every switch to an operator."""
    promote_live: bool = False
    """Whether a live engine gets models automatically; an engine in shadow mode always does."""
    poll_s: float = 0.5
    identity_grace_s: float = 5.0
    """How long an active engine may show another model path, as it does between fork and exec."""
    stopped_timeout_s: float = 600.0
    """How long to wait for an engine that an operator stopped; it is not started again."""
    min_free_bytes: int = 200_000_000
    """Required free space in addition to three times the model's size."""
    health_url: str | None = None
    """Health endpoint, requested before and during verification; None skips the check."""
    probe_url: str | None = None
    """Endpoint that scores windows; None skips the golden rows."""
    journal_pattern: str | None = None
    """Text of the journal line that names the loaded file, with the placeholder `{file}`; None skips it."""
    engine_loads: EngineLoads = "existing"
    """Architectures that the engine can load; others are never promoted, even with an override."""
    engine_may_be_down: bool = False
    """Whether a promotion may begin while the engine is stopped, and start it (development)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedEngine:
    """The engine of a model line, its model files, and the parts that change them."""

    line: Line
    models_dir: Path
    env_file: EnvFile
    engine: Engine
    switch: Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Everything that a promotion needs."""

    registry: Registry
    models_dir: Path
    env_file: EnvFile
    line: Line
    engine: Engine
    switch: Switch
    log: PromotionLog
    clock: Clock
    policy: PromotionPolicy
    health: Health | None
    probe: GoldenCheck | None
    journal: JournalWitness | None
    checkpoint: Callable[[str], None]
    """Called with the name of each completed step; tests end the process there."""

    def path_of(self, version: str) -> Path:
        """Return the path of a promoted version."""
        return self.models_dir / f"{version}.pth"
