"""The job of a training child and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clm.domain.architecture import ENGINE
from clm.domain.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """Hyperparameters of one training; the settings have the defaults."""

    architecture: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    label_smoothing: float
    """ε: targets are ε/2 and 1 - ε/2."""
    class_weights: bool
    patience: int
    """Epochs without a better validation log loss before training stops."""
    seed: int
    threads: int
    """Number of threads; 0 measures at the start which number is faster."""
    scaling: str = "standard"
    """`standard`, `robust` (median and quartiles) or `none`."""
    spread_weight: float = 0.0
    """Weight of the loss term that rewards spread of P(WIN)."""
    start: str = "random"
    """`logistic`: the network starts as the regression on the last step; `random`: random weights."""
    ensemble: int = 1
    """Number of networks whose average prediction is distilled into the served one."""
    swa_from: float = 1.0
    """Share of the epochs after which weights are averaged (SWA); 1 turns it off."""
    device: str = "cpu"
    """`cpu`, `cuda`, or `auto`, which uses a GPU if there is one."""
    processes: int = 1
    """Ensemble networks trained in parallel; 0: as many as the cores allow. It changes no weights."""
    precision: str = "auto"
    """Precision of matrix products in training: `bf16`, `fp32`, or `auto` (bf16 if the processor has it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRef:
    """The model named by the engine's environment file."""

    version: str
    path: Path
    sha256: str
    feature_names: tuple[str, ...] = ()
    """Empty for an adopted file whose features are not recorded."""
    adopted: bool = False
    """True if the file was there before this service: its hash was computed, not verified."""
    architecture: str = ENGINE
    """From its manifest; a file without one is assumed to be of the existing engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training; its directory holds the question `train` and later the answer."""

    run_id: str
    directory: Path
    spec: TrainingSpec
    context_length: int
    feature_names: tuple[str, ...]
    champion: ChampionRef | None
    timeout_s: float
    cpu_s: float = 0.0
    """Processor seconds after which the kernel ends the child; 0 for no limit."""
    memory_mb: int = 0
    """Maximum memory of the child in megabytes; 0 for no limit."""
    checkpoints: Path | None = None
    """Directory of the checkpoints; None if the training need not resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """Figures of one epoch, sent during training; losses in nats."""

    epoch: int
    """0 is a network with a linear start, before its first step."""
    epochs: int
    train_loss: Figure
    """NaN before the first step."""
    validation_log_loss: Figure
    validation_auroc: Figure
    validation_p_win_std: Figure
    seconds: float
    best: bool
    network: str = ""
    """Name of the network in an ensemble; empty for the served one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """The result of the training child; the parent has checked the hash."""

    weights_path: Path
    """The served file: `{"model_state_dict": ...}`, input scaling folded in."""
    file_sha256: str
    weights_hash: str
    """sha256 over names, shapes and bytes of all tensors; the same seed gives the same hash."""
    n_parameters: int
    best_epoch: int
    stopped_because: str
    epochs: tuple[EpochReport, ...]
    seconds: float
    p_candidate_N: NDArray[np.float64]
    """P(WIN) of the test rows, computed by the served file from raw windows, in the order of Split.test."""
    p_logistic_N: NDArray[np.float64]
    p_champion_N: NDArray[np.float64] | None
    champion_absent_because: str
    """Why the champion was not scored; empty if it was."""
    p_validation_N: NDArray[np.float64] | None = None
    """P(WIN) of the validation rows, computed by the served file; None if not requested."""
    p_trees_N: NDArray[np.float64] | None = None
    """P(WIN) of the test rows by boosted trees on the last step; None if they were not trained."""
    validation_by_plain: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """P(WIN) of the validation rows by plain model, `logistic` and `trees`; they choose the better one."""
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """Figures of the test rows by predictor, measured by the child; the parent measures them again."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """Further facts for the proof pack: device, threads, torch version, calibration."""
