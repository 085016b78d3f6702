"""The numbers of a promotion, and everything it works with."""

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
    """How long the engine may take, and what must be there before anything is touched."""

    active_timeout_s: float = 150.0
    """From the restart until it is active, on the right file and healthy."""
    stable_s: float = 60.0
    """How long it must stay so, under one invocation and without a new restart."""
    max_attempts: int = 2
    """Verifications of one candidate, interrupted ones included; restarts of a rollback."""
    max_stores: int = 28
    """Writes of one promotion's row, recoveries included: it bounds a loop of crashes."""
    mode: Literal["auto", "manual"] = "auto"
    """`manual` leaves every switch to a person."""
    promote_live: bool = False
    """Whether a live engine gets models without a person; one in shadow mode does anyway."""
    poll_s: float = 0.5
    identity_grace_s: float = 5.0
    """How long an active engine may show another model path: between fork and exec it does."""
    stopped_timeout_s: float = 600.0
    """How long we wait for an engine that somebody stopped; it is not started against their will."""
    min_free_bytes: int = 200_000_000
    """Free space needed beside three times the model's size."""
    health_url: str | None = None
    """Endpoint asked before and during the verification; None asks nothing."""
    probe_url: str | None = None
    """Where the engine answers to windows; None asks for no golden rows."""
    journal_pattern: str | None = None
    """Text of the journal line that names the loaded file, `{file}` in its place; None looks for none."""
    engine_loads: EngineLoads = "existing"
    """What the engine can load; nothing else is promoted, whoever asks for it."""
    engine_may_be_down: bool = False
    """Whether a promotion may begin while the engine does not run, and start it (development)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedEngine:
    """The engine that serves a line, the files from which it takes its model, and what changes them."""

    line: Line
    models_dir: Path
    env_file: EnvFile
    engine: Engine
    switch: Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The server as a promotion sees it."""

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
    """Told the name of each point that was passed; tests end the process there."""

    def path_of(self, version: str) -> Path:
        """Return where a version lies once it is promoted."""
        return self.models_dir / f"{version}.pth"
