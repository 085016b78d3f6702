"""The settings that operators touch: names without a group, in the order in which an operator meets them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from clm.domain.line import DEFAULT_LINE
from clm.settings.schedule import parse_schedule
from clm.settings.section import Section


class Places(Section):
    """Where things are."""

    heading = "Where things are"

    root: Path | None = None
    """Directory below which every default path is, for development and tests; empty on a server."""
    store: Path = Path("/opt/quantum/data/quantum_trader.db")
    """SQLite store with ai_training_samples. The daemon never creates it."""
    state_dir: Path = Path("/var/lib/quantum-clm")
    """Runs with their proof packs, trained models, caches, the lock."""
    models_dir: Path = Path("/opt/quantum/ai_engine/models")
    """Directory from which the engine loads models; only promoted models are copied to it."""
    candles_dir: Path = Path("/opt/quantum/data/market_data/latest")
    """Candle files of one interval, as exchanges publish them (docs/reference/features.md)."""
    engine_env_file: Path = Path("/etc/quantum/ai-engine.env")
    """Environment file of the engine. One value in it is rewritten; every other byte stays."""
    engine_unit: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@-]+\.service$")] = DEFAULT_LINE.engine_unit
    """Unit that serves the model."""

    @field_validator("root", mode="before")
    @classmethod
    def _root_may_be_empty(cls, value: object) -> object:
        return None if value == "" else value


class When(Section):
    """When to train, and on what."""

    heading = "When to train, and on what"

    schedule: str = "24h"
    """Time between retrains (`30m`, `24h`, `7d`), a cron expression (five fields, UTC), or `off`."""
    history_days: Annotated[int, Field(ge=0, le=36500)] = 730
    """Days of samples before the newest one that are read; 0 reads all."""
    min_samples: Annotated[int, Field(ge=50, le=100_000_000)] = 1000
    """Labelled windows below which no model is trained."""
    window_source: Literal["history", "candles"] = "history"
    """Windows of `history`, the symbol's last samples, or of `candles` (docs/reference/features.md)."""
    features: tuple[str, ...] = ()
    """Features to use, comma-separated, in this order. Empty: those of the newest sample, or 8 of candles."""
    target: Literal["win", "direction"] = "win"
    """Meaning of P(WIN): `win` as recorded, or `direction` (side x outcome)."""
    architecture: Literal["engine", "patchtst", "patchtst-revin", "patchtst-mix"] = "engine"
    """`engine`; with CLM_ENGINE__LOADS=serving also patchtst, patchtst-revin, patchtst-mix."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    """Seed of everything random. The same seed and store give the same weights."""

    @field_validator("schedule")
    @classmethod
    def _readable_schedule(cls, value: str) -> str:
        parse_schedule(value)
        return value

    @field_validator("features", mode="before")
    @classmethod
    def _split_features(cls, value: object) -> object:
        return split_names(value)


class Judged(Section):
    """What is judged."""

    heading = "What is judged"

    fee_bps: Annotated[float, Field(ge=0, le=1000)] = 4.0
    """Fee of one side of a trade, in basis points."""
    slippage_bps: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Slippage of one side of a trade, in basis points."""
    require_profit: bool = False
    """Gate 11: fail unless the net return per trade is above 0 beyond chance. False only reports it."""
    required_symbols: tuple[str, ...] = ()
    """Gate 8: symbols, comma-separated, that need at least 100 test rows each."""

    @field_validator("required_symbols", mode="before")
    @classmethod
    def _split_symbols(cls, value: object) -> object:
        return split_names(value)


class Promoting(Section):
    """How promotion works."""

    heading = "How promotion works"

    promotion_mode: Literal["auto", "manual"] = "auto"
    """`auto` promotes what passes while the engine is in shadow mode; `manual` waits for `clm promote`."""
    promote_live: bool = False
    """Let `auto` also replace the model of a live engine (PATCHTST_SHADOW_ONLY is not true)."""
    engine_health_url: str = ""
    """Checked before and after a promotion, such as http://127.0.0.1:8001/health/live; empty for none."""


class Bus(Section):
    """Redis and logs."""

    heading = "Redis and logs"

    redis_url: Annotated[str, Field(pattern=r"^(redis|rediss|unix)://")] = "redis://localhost:6379/0"
    """Redis of the trading system. Without it events wait in the outbox."""
    redis_password_file: Path | None = None
    """File with the password. Empty uses the systemd credential `redis-password` if it exists."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""

    @field_validator("redis_password_file", mode="before")
    @classmethod
    def _password_file_may_be_empty(cls, value: object) -> object:
        return None if value == "" else value


def split_names(value: object) -> object:
    """Return the names of a comma-separated list."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value
