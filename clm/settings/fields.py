"""Every setting.

The docstring below each field is the operator's documentation: `etc/quantum/clm.env` is made of
them (`clm example-config`), and a test holds the file against the code.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clm.data.candles.catalogue import FEATURE_NAMES
from clm.data.candles.windows import PREFIX as PREFIX_OF_CANDLES
from clm.domain.architecture import ENGINE, KNOWN
from clm.domain.line import DEFAULT_LINE
from clm.settings.cron import crontab

PREFIX = "CLM_"
Share = Annotated[float, Field(gt=0, lt=1)]


class Fields(BaseSettings):
    """All settings of quantum-clm with their defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    # Where things lie
    root: Path | None = None
    """Directory below which every default path lies, for development and tests; empty for the server."""
    store: Path = Path("/opt/quantum/data/quantum_trader.db")
    """SQLite store with ai_training_samples; never created by the daemon."""
    state_dir: Path = Path("/var/lib/quantum-clm")
    """Runs with their proof packs, artefacts, the lock."""
    models_dir: Path = Path("/opt/quantum/ai_engine/models")
    """Where the engine looks for models; only promoted ones are put here."""
    engine_env_file: Path = Path("/etc/quantum/ai-engine.env")
    """Environment file of the engine; one value in it is rewritten, every other byte stays."""
    python: Path | None = None
    """Python that runs the training child; empty takes the daemon's own."""

    # When to train
    retrain_interval_h: Annotated[float, Field(ge=0, le=24 * 366)] = 24.0
    """Hours between scheduled retrains; 0 for none; otherwise at least 0.1."""
    retrain_cron: str = ""
    """Cron expression (five fields, UTC) used instead of the interval when set."""
    min_run_interval_min: Annotated[float, Field(ge=0, le=24 * 60)] = 15.0
    """Minutes from one cycle's start to the next, however many triggers come; a person's goes at once."""
    max_runs_a_day: Annotated[int, Field(ge=1, le=1440)] = 24
    """Cycles in 24 hours, however many triggers come; a person's is done all the same."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Tries of one task when its cycle breaks (a killed child, a crash); a rejection is no break."""

    # Data
    history_days: Annotated[int, Field(ge=0, le=36500)] = 730
    """Days of samples before the newest one that are read; 0 reads all."""
    max_rows: Annotated[int, Field(ge=1000, le=100_000_000)] = 2_000_000
    """Rows above which a store is refused before it fills the memory."""
    sample_cache: bool = True
    """Keep samples that have their label as columns in the state directory, so that only others are read."""
    sample_cache_max_age_h: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    """Hours after which all rows are read again: a label that was rewritten in place is seen by then."""
    min_samples: Annotated[int, Field(ge=50, le=100_000_000)] = 1000
    """Labelled windows below which nothing is trained."""
    max_staleness_days: Annotated[float, Field(gt=0, le=36500)] = 14.0
    """Age of the newest sample above which a warning is given."""
    max_bad_share: Share = 0.05
    """Share of unreadable rows above which nothing is trained."""
    features: Annotated[tuple[str, ...], NoDecode] = ()
    """Features to use, comma-separated, in this order; empty: the newest sample's, or 8 of the candles."""
    window_source: Literal["history", "candles"] = "history"
    """Windows of `history`, the symbol's last samples, or of `candles` (docs/reference/features.md)."""
    candles_dir: Path = Path("/opt/quantum/data/market_data/latest")
    """Candle files of one interval (CSV, CSV.gz, Parquet); read when windows are made of candles."""
    target: Literal["win", "direction"] = "win"
    """What P(WIN) means: `win` as recorded, or `direction` (side x outcome)."""
    contradictions: Literal["keep", "drop", "relabel"] = "drop"
    """What becomes of a WIN without profit or a LOSS without loss; `relabel` believes the profit."""
    signal_floor: Literal["off", "warn", "block"] = "warn"
    """What follows when neither a linear model nor small trees find skill; costs seconds before training."""
    train_share: Share = 0.70
    """Share of the windows, by time, that trains."""
    validation_share: Share = 0.15
    """Share that chooses the epoch and the calibration; the rest is the test."""
    folds: Annotated[int, Field(ge=1, le=20)] = 1
    """Splits that walk forward by a test part; the last one trains, all show how the baseline varies."""
    embargo_h: Annotated[float, Field(ge=0, le=24 * 30)] = 1.0
    """Hours left out after each boundary, beside the purge by label interval."""

    # Training
    architecture: Literal["engine", "patchtst", "patchtst-revin", "patchtst-mix"] = "engine"
    """`engine`; with CLM_ENGINE_LOADS=serving also patchtst, patchtst-revin, patchtst-mix."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """Epochs at most; an epoch is at most 8,192 windows."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Windows a step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Decoupled weight decay, matrices only."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Dropout while training, rounded to a multiple of 1/256."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """0.1 means targets 0.05 and 0.95."""
    class_weights: bool = True
    """Weigh classes by their inverse share in the training part."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Epochs without a better validation log loss before training stops."""
    scaling: Literal["standard", "robust", "none"] = "standard"
    """How features are scaled: by mean and deviation, by median and quartiles, or not at all."""
    spread_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of a loss term that pays for spread of P(WIN); it buys gates 1 and 2, never skill."""
    start: Literal["logistic", "random"] = "logistic"
    """Start as logistic regression on the last step, or random (docs/explanation/models.md)."""
    ensemble: Annotated[int, Field(ge=1, le=10)] = 1
    """Networks of different seeds whose average is taught to the served one; 1 for none."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products while learning: `auto` is bf16 where the processor has it, fp32 on a GPU."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    """Seed of everything random; the same seed and store give the same weights."""
    swa_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the epochs after which weights are averaged and the rate stays; 1: no averaging."""
    device: Literal["cpu", "auto", "cuda"] = "cpu"
    """Device of the child: `cpu`, `cuda`, or `auto`, a GPU if there is one (docs/explanation/training.md)."""
    train_threads: Annotated[int, Field(ge=0, le=256)] = 1
    """Threads of the training child; one leaves the engine its core; 0 measures if all cores are faster."""
    train_processes: Annotated[int, Field(ge=0, le=256)] = 0
    """Members of an ensemble that are trained at a time, a process each; 0: as many as cores allow."""
    train_timeout_s: Annotated[float, Field(ge=1, le=7 * 86400)] = 3600.0
    """Wall time after which the child is ended; it goes on from its last epoch at the next attempt."""
    train_cpu_s: Annotated[float, Field(ge=0, le=7 * 86400)] = 1800.0
    """Processor seconds, of all threads, after which the child is ended; 0 for no limit."""
    train_memory_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 2000
    """Megabytes that the child may take; what needs more is refused before it starts; 0 for no limit."""

    # After a rejection
    diagnose_budget_s: Annotated[float, Field(ge=0, le=86400)] = 120.0
    """Seconds to measure the causes of a rejection; 0 measures nothing (docs/explanation/diagnosis.md)."""
    tune_trials: Annotated[int, Field(ge=0, le=1000)] = 8
    """Tries of other settings after a rejection whose cause a setting may repair; 0 for none."""
    tune_budget_s: Annotated[float, Field(ge=0, le=7 * 86400)] = 1800.0
    """Seconds that these tries may take together."""

    # Evaluation
    bootstrap_replicates: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Block-bootstrap replicates of every interval."""
    bootstrap_confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Coverage of the intervals at the first attempt; 1 - this is the error allowed over all attempts."""
    block_h: Annotated[float, Field(gt=0, le=24 * 60)] = 24.0
    """Mean length of a bootstrap block in hours."""
    fee_bps: Annotated[float, Field(ge=0, le=1000)] = 4.0
    """Fee of one side of a trade in basis points."""
    slippage_bps: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Slippage of one side of a trade in basis points."""

    # Gates
    max_action_share: Share = 0.70
    """Gate 1: no action may have a larger share."""
    min_action_share: Share = 0.10
    """Gate 1: at least two actions must have a larger share."""
    min_confidence_std: Share = 0.05
    """Gate 2: standard deviation of P(WIN)."""
    min_confidence_range: Share = 0.12
    """Gate 2: P10-P90 distance of P(WIN)."""
    collapsed_std: Share = 0.02
    """Gate 2: below this the model is called collapsed."""
    collapsed_range: Share = 0.05
    """Gate 2: below this the model is called collapsed."""
    logistic_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Gate 5: nats of log loss by which the model may be worse than logistic regression."""
    champion_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Gate 6: nats of log loss by which the interval's upper end may be worse than the champion."""
    max_ece: Share = 0.08
    """Gate 7: expected calibration error of P(WIN) on the test rows."""
    required_symbols: Annotated[tuple[str, ...], NoDecode] = ()
    """Gate 8: symbols, comma-separated, that must have at least 100 test rows; empty: none."""
    require_profit: bool = False
    """Gate 11: whether the net return per trade must be above 0 beyond chance; else it is only reported."""
    allow_first_champion: bool = True
    """Gate 6: whether a model may go in where no champion can be scored."""
    max_file_mb: Annotated[float, Field(gt=0, le=10_000)] = 50.0
    """Gate 10: millions of bytes that the served file may have."""
    max_prediction_ms: Annotated[float, Field(gt=0, le=60_000)] = 20.0
    """Gate 10: what 99 % of predictions may take at most, one at a time, of one core."""

    # Promotion
    promotion_mode: Literal["auto", "manual"] = "auto"
    """`auto` promotes what passes while the engine is in shadow mode; `manual` leaves it to `clm promote`."""
    promote_live: bool = False
    """Let `auto` also replace the model of a live engine (PATCHTST_SHADOW_ONLY not true)."""
    engine_control: Literal["systemd", "process"] = "systemd"
    """What runs the engine: a systemd unit, switched by root's helper, or a process of ours (development)."""
    engine_unit: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@-]+\.service$")] = DEFAULT_LINE.engine_unit
    """Unit that serves the model."""
    engine_loads: Literal["existing", "serving"] = "existing"
    """What the engine loads: `existing`, the architecture `engine`; `serving`, whatever a manifest names."""
    engine_command: str = ""
    """Command line of the engine when engine_control is `process`."""
    engine_health_url: str = ""
    """Asked before and after a promotion, such as http://127.0.0.1:8001/health/live; empty for none."""
    engine_probe_url: str = ""
    """Where the engine answers windows, such as http://127.0.0.1:8001/predict; proves what it serves."""
    engine_journal_pattern: Annotated[str, Field(pattern=r"^$|\{file\}")] = ""
    """Journal line that names the loaded file, such as `PatchTST loaded: {file}`; empty for none."""
    active_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 150.0
    """Seconds the engine may take to become active after a restart."""
    stable_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds it must stay so, without a new restart, before the promotion is committed."""
    min_free_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    """Free megabytes below which nothing is promoted."""

    # Room
    keep_models_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    """Days that a model which does not serve stays registered; champion, the three before it, a pin stay."""
    keep_runs_days: Annotated[float, Field(ge=0, le=36500)] = 180.0
    """Days that the proof packs of runs stay; the newest 20 stay longer. The ledger is never cut."""
    keep_events_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    """Days that events stay in the store after they were published; the newest 1,000 stay longer."""
    disk_mark: Share = 0.90
    """Share of the disk in use above which models and runs go before their time, the oldest first."""
    train_min_free_mb: Annotated[int, Field(ge=0, le=100_000_000)] = 1000
    """Free megabytes below which nothing is trained."""
    train_min_free_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Free share of the disk below which nothing is trained."""

    # Bus
    redis_url: Annotated[str, Field(pattern=r"^(redis|rediss|unix)://")] = "redis://localhost:6379/0"
    """Redis of the trading system; without it events wait in the outbox."""
    redis_password_file: Path | None = None
    """File with the password; empty takes the systemd credential `redis-password` where there is one."""

    # Daemon
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    stop_grace_s: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """Seconds the training child gets between SIGTERM and SIGKILL."""

    @field_validator("root", "python", "redis_password_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("features", "required_symbols", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("retrain_interval_h")
    @classmethod
    def _no_retrain_storm(cls, value: float) -> float:
        if value and value < 0.1:
            raise ValueError("must be 0 (off) or at least 0.1 hours")
        return value

    @field_validator("retrain_cron")
    @classmethod
    def _readable_cron(cls, value: str) -> str:
        if value:
            crontab(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _below_root(cls, values: dict[str, Any]) -> dict[str, Any]:
        root = values.get("root")
        if not root:
            return values
        for name in ("store", "state_dir", "models_dir", "engine_env_file", "candles_dir"):
            if name not in values:
                values[name] = below(Path(str(root)), cls.model_fields[name].default)
        return values

    @model_validator(mode="after")
    def _parts_leave_a_test(self) -> Self:
        if self.train_share + self.validation_share >= 0.95:
            raise ValueError("CLM_TRAIN_SHARE + CLM_VALIDATION_SHARE must leave at least 0.05 for the test")
        test_share = 1 - self.train_share - self.validation_share
        if self.train_share - (self.folds - 1) * test_share < 0.05:
            raise ValueError("CLM_FOLDS leaves the first fold less than 0.05 to train on; take fewer")
        return self

    @model_validator(mode="after")
    def _candles_have_these_features(self) -> Self:
        for name in self.features if self.window_source == "candles" else ():
            if (
                name.startswith(PREFIX_OF_CANDLES)
                and name.removeprefix(PREFIX_OF_CANDLES) not in FEATURE_NAMES
            ):
                raise ValueError(
                    f"CLM_FEATURES: candles have no {name}; they have {', '.join(FEATURE_NAMES)}"
                )
        return self

    @model_validator(mode="after")
    def _engine_loads_the_architecture(self) -> Self:
        if not KNOWN[self.architecture].loads_in(self.engine_loads):
            raise ValueError(
                f"CLM_ARCHITECTURE={self.architecture} is none that the existing engine loads: set "
                f"CLM_ARCHITECTURE={ENGINE}, or CLM_ENGINE_LOADS=serving for an engine built on clm.serving"
            )
        return self

    @model_validator(mode="after")
    def _engine_can_be_controlled(self) -> Self:
        if self.engine_control == "process" and not self.engine_command:
            raise ValueError("CLM_ENGINE_CONTROL=process needs CLM_ENGINE_COMMAND")
        return self


def below(root: Path, path: Path) -> Path:
    """Return `path` as seen below `root`."""
    return root / path.relative_to("/")
