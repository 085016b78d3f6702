"""The settings behind the everyday ones: a group for each part of the service, as in CLM_TRAINING__EPOCHS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from clm.settings.section import Section, Share


class Cycles(Section):
    """How often a cycle may run."""

    heading = "Cycles"
    group = "CYCLES"
    short: ClassVar[Mapping[str, str]] = {
        "min_run_interval_min": "MIN_INTERVAL_MIN",
        "max_runs_a_day": "MAX_A_DAY",
        "max_attempts": "MAX_STARTS",
    }

    min_run_interval_min: Annotated[float, Field(ge=0, le=24 * 60)] = 15.0
    """Minutes from the start of one cycle to the next. Manual triggers are exempt."""
    max_runs_a_day: Annotated[int, Field(ge=1, le=1440)] = 24
    """Maximum cycles in 24 hours. Manual triggers are exempt."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Starts of one task if its cycle breaks (a killed child, a crash). A rejection is not a break."""


class Data(Section):
    """How samples are read and split."""

    heading = "Data"
    group = "DATA"
    short: ClassVar[Mapping[str, str]] = {
        "sample_cache": "CACHE",
        "sample_cache_max_age_h": "CACHE_MAX_AGE_H",
        "signal_floor": "FLOOR",
    }

    max_rows: Annotated[int, Field(ge=1000, le=100_000_000)] = 2_000_000
    """Rows above which a store is refused before it fills the memory."""
    sample_cache: bool = True
    """Keep labelled samples as columns in the state directory, so that only the others are read again."""
    sample_cache_max_age_h: Annotated[float, Field(gt=0, le=24 * 366)] = 24.0
    """Hours after which all rows are read again, which finds labels that were rewritten in place."""
    max_staleness_days: Annotated[float, Field(gt=0, le=36500)] = 14.0
    """Age of the newest sample, in days, above which a warning is given."""
    max_bad_share: Share = 0.05
    """Share of unreadable rows above which no model is trained."""
    contradictions: Literal["keep", "drop", "relabel"] = "drop"
    """Treatment of a WIN without profit or a LOSS without loss. `relabel` trusts the profit."""
    signal_floor: Literal["off", "warn", "block"] = "warn"
    """Action if neither a linear model nor small trees find skill. The check takes seconds."""
    train_share: Share = 0.70
    """Share of the windows, by time, that trains."""
    validation_share: Share = 0.15
    """Share that chooses the epoch and the calibration. The rest is the test part."""
    folds: Annotated[int, Field(ge=1, le=20)] = 1
    """Walk-forward splits, one test part apart. The last one trains; all show how the baseline varies."""
    embargo_h: Annotated[float, Field(ge=0, le=24 * 30)] = 1.0
    """Hours left out after each boundary, in addition to the purge by label interval."""


class Training(Section):
    """How a candidate is trained."""

    heading = "Training"
    group = "TRAINING"

    python: Path | None = None
    """Python that runs child processes. Empty uses the daemon's own."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    """Maximum epochs; an epoch has at most 8,192 windows."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    """Windows per step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-4
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Decoupled weight decay of matrices."""
    dropout: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Dropout, rounded to a multiple of 1/256."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """0.1 means targets of 0.05 and 0.95."""
    class_weights: bool = True
    """Weigh classes by their inverse share in the training part."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    """Epochs without a better validation log loss before early stopping."""
    scaling: Literal["standard", "robust", "none"] = "standard"
    """Scaling of features: by mean and deviation, by median and quartiles, or none."""
    spread_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Weight of a loss term that rewards spread of P(WIN). It helps gates 1 and 2, never skill."""
    start: Literal["logistic", "random"] = "logistic"
    """Start as logistic regression on the last step, or random (docs/explanation/models.md)."""
    ensemble: Annotated[int, Field(ge=1, le=10)] = 1
    """Networks of different seeds whose average trains the served one; 1 for none."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Matrix products in training. `auto` is bf16 if the processor supports it, fp32 on a GPU."""
    swa_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the epochs after which weights are averaged at a constant rate; 1 for no averaging."""
    device: Literal["cpu", "auto", "cuda"] = "cpu"
    """`cpu`, `cuda`, or `auto`: a GPU if there is one (docs/explanation/training.md)."""

    @field_validator("python", mode="before")
    @classmethod
    def _python_may_be_empty(cls, value: object) -> object:
        return None if value == "" else value


class Limits(Section):
    """What a training child may use."""

    heading = "Limits of the training child"
    group = "LIMITS"
    short: ClassVar[Mapping[str, str]] = {
        "train_threads": "THREADS",
        "train_timeout_s": "WALL_S",
        "train_cpu_s": "CPU_S",
        "train_memory_mb": "MEMORY_MB",
    }

    train_threads: Annotated[int, Field(ge=0, le=256)] = 1
    """Threads of a training. 1 leaves the engine its core; 0 measures whether all cores are faster."""
    train_timeout_s: Annotated[float, Field(ge=1, le=7 * 86400)] = 3600.0
    """Wall time in seconds after which training times out. The next run resumes after the last epoch."""
    train_cpu_s: Annotated[float, Field(ge=0, le=7 * 86400)] = 1800.0
    """CPU time in seconds, all threads, after which training times out; 0 for no limit."""
    train_memory_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 2200
    """Memory in megabytes. A larger training is refused before it starts; 0 for no limit."""
    stop_grace_s: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """Seconds between SIGTERM and SIGKILL."""


class Rejection(Section):
    """What follows a rejection: the diagnosis."""

    heading = "Diagnosis after a rejection"
    group = "DIAGNOSIS"
    short: ClassVar[Mapping[str, str]] = {"diagnose_budget_s": "BUDGET_S"}

    diagnose_budget_s: Annotated[float, Field(ge=0, le=86400)] = 120.0
    """Seconds to measure the causes of a rejection; 0 for none (docs/explanation/diagnosis.md)."""


class Tuning(Section):
    """What follows a rejection: trials of other settings."""

    heading = "Tuning after a rejection"
    group = "TUNING"
    short: ClassVar[Mapping[str, str]] = {"tune_trials": "TRIALS", "tune_budget_s": "BUDGET_S"}

    tune_trials: Annotated[int, Field(ge=0, le=1000)] = 8
    """Trials of other settings after a rejection whose cause a setting may remove; 0 for none."""
    tune_budget_s: Annotated[float, Field(ge=0, le=7 * 86400)] = 1800.0
    """Seconds for all trials."""


class Evaluation(Section):
    """How figures are measured."""

    heading = "Evaluation"
    group = "EVALUATION"
    short: ClassVar[Mapping[str, str]] = {
        "bootstrap_replicates": "REPLICATES",
        "bootstrap_confidence": "CONFIDENCE",
    }

    bootstrap_replicates: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Block-bootstrap replicates of every interval."""
    bootstrap_confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Coverage of the intervals at the first attempt; 1 - this is the error allowed over all attempts."""
    block_h: Annotated[float, Field(gt=0, le=24 * 60)] = 24.0
    """Mean length of a bootstrap block, in hours."""


class Gates(Section):
    """The bars of the gates."""

    heading = "Gates"
    group = "GATES"

    max_action_share: Share = 0.70
    """Gate 1: no action may have a larger share."""
    min_action_share: Share = 0.10
    """Gate 1: at least two actions must have a larger share."""
    min_confidence_std: Share = 0.05
    """Gate 2: standard deviation of P(WIN)."""
    min_confidence_range: Share = 0.12
    """Gate 2: P10-P90 distance of P(WIN)."""
    collapsed_std: Share = 0.02
    """Gate 2: below this standard deviation the model counts as collapsed."""
    collapsed_range: Share = 0.05
    """Gate 2: below this range the model counts as collapsed."""
    logistic_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Gate 5: nats of log loss by which the model may be worse than the better plain model."""
    champion_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Gate 6: nats of log loss by which the upper end of the interval may be worse than the champion."""
    allow_first_champion: bool = True
    """Gate 6: promote a model even if there is no champion to compare it with."""
    max_ece: Share = 0.08
    """Gate 7: expected calibration error of P(WIN) on the test rows."""
    max_file_mb: Annotated[float, Field(gt=0, le=10_000)] = 50.0
    """Gate 10: maximum size of the served file, in millions of bytes."""
    max_prediction_ms: Annotated[float, Field(gt=0, le=60_000)] = 20.0
    """Gate 10: 99th percentile of the time of one prediction on one core."""


class Engine(Section):
    """How the engine is controlled and verified."""

    heading = "Engine"
    group = "ENGINE"
    short: ClassVar[Mapping[str, str]] = {
        "engine_control": "CONTROL",
        "engine_loads": "LOADS",
        "engine_command": "COMMAND",
        "engine_probe_url": "PREDICT_URL",
        "engine_journal_pattern": "JOURNAL_PATTERN",
    }

    engine_control: Literal["systemd", "process"] = "systemd"
    """What runs the engine: a systemd unit, switched by root's helper, or a child process (development)."""
    engine_loads: Literal["existing", "serving"] = "existing"
    """`existing`: the engine loads the architecture `engine`; `serving`: whatever a manifest names."""
    engine_command: str = ""
    """Command line of the engine if CLM_ENGINE__CONTROL=process."""
    engine_probe_url: str = ""
    """Where the engine answers windows, such as http://127.0.0.1:8001/predict; verifies what it serves."""
    engine_journal_pattern: Annotated[str, Field(pattern=r"^$|\{file\}")] = ""
    """Journal line that names the loaded file, such as `PatchTST loaded: {file}`; empty for none."""
    active_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 150.0
    """Seconds in which the engine must become active after a restart."""
    stable_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds it must stay active, without another restart, before the promotion is committed."""


class Kept(Section):
    """How long records are kept."""

    heading = "Retention"
    group = "KEEP"
    short: ClassVar[Mapping[str, str]] = {
        "keep_models_days": "MODELS_DAYS",
        "keep_runs_days": "RUNS_DAYS",
        "keep_events_days": "EVENTS_DAYS",
    }

    keep_models_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    """Days that a model stays registered. The champion, the three before it and a pinned one always stay."""
    keep_runs_days: Annotated[float, Field(ge=0, le=36500)] = 180.0
    """Days that proof packs stay. The newest 20 stay longer; the ledger is never cut."""
    keep_events_days: Annotated[float, Field(ge=0, le=36500)] = 30.0
    """Days that published events stay in the store. The newest 1,000 stay longer."""


class Disk(Section):
    """How much room the disks need."""

    heading = "Disks"
    group = "DISK"
    short: ClassVar[Mapping[str, str]] = {"train_min_free_mb": "MIN_FREE_MB", "disk_mark": "MAX_USED_SHARE"}

    train_min_free_mb: Annotated[int, Field(ge=0, le=100_000_000)] = 1000
    """Free megabytes below which no model is trained. A fifth of it stops promotions too."""
    disk_mark: Share = 0.90
    """Used share of the disk above which old models and runs are removed early. Training stops halfway
    between this and a full disk."""


class Replaced(Section):
    """Settings of 0.1 that now follow from others; an old file may still set them."""

    heading = ""

    min_free_mb: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Follows from CLM_DISK__MIN_FREE_MB."""
    train_min_free_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Follows from CLM_DISK__MAX_USED_SHARE."""
    train_processes: Annotated[int, Field(ge=0, le=256)] = 0
    """Follows from CLM_LIMITS__THREADS and the cores."""
