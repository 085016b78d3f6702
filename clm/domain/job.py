"""What a training child is asked for, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clm.domain.architecture import ENGINE
from clm.domain.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """Hyperparameters of one training; defaults live in settings.py."""

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
    """0 measures at the start which count is faster."""
    scaling: str = "standard"
    """`standard`, `robust` (median and quartiles) or `none`."""
    spread_weight: float = 0.0
    """Of the loss term that rewards spread of P(WIN)."""
    start: str = "random"
    """`logistic`: the network begins as the regression on the last step; `random`: anywhere."""
    ensemble: int = 1
    """Networks whose averaged answer is taught to the one that is served."""
    swa_from: float = 1.0
    """Share of the epochs after which their weights are averaged; 1 for none."""
    device: str = "cpu"
    """`cpu`, `cuda`, or `auto`, which takes a GPU where there is one."""
    processes: int = 1
    """Of an ensemble, trained at a time; 0: as many as the cores allow. It changes no weight."""
    precision: str = "auto"
    """Of the matrix products while learning: `bf16`, `fp32`, or `auto`, bf16 where the processor has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRef:
    """The model that the engine's environment file names."""

    version: str
    path: Path
    sha256: str
    feature_names: tuple[str, ...] = ()
    """Empty for an adopted file whose features are not recorded."""
    adopted: bool = False
    """True when the file was there before us: its hash was taken, not checked."""
    architecture: str = ENGINE
    """As its manifest says; a file without one is taken to be the existing engine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training: its directory holds the question `train`, and then the answer."""

    run_id: str
    directory: Path
    spec: TrainingSpec
    context_length: int
    feature_names: tuple[str, ...]
    champion: ChampionRef | None
    timeout_s: float
    cpu_s: float = 0.0
    """Processor seconds after which the system ends the child; 0 for no limit."""
    memory_mb: int = 0
    """Megabytes of memory that the child may take; 0 for no limit."""
    checkpoints: Path | None = None
    """Where an interrupted training is kept; None where it need not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """Figures of one epoch, sent while training goes on; losses in nats."""

    epoch: int
    """0 for a network that began as a regression, before its first step."""
    epochs: int
    train_loss: Figure
    """NaN before the first step."""
    validation_log_loss: Figure
    validation_auroc: Figure
    validation_p_win_std: Figure
    seconds: float
    best: bool
    network: str = ""
    """Which one of several it is of; empty for the one that is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What the child left behind, its hash checked by the parent."""

    weights_path: Path
    """The served file: `{"model_state_dict": ...}`, input scaling folded in."""
    file_sha256: str
    weights_hash: str
    """sha256 over names, shapes and bytes of all tensors: the same seed gives the same hash."""
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
    """Why there is no champion score; empty where there is one."""
    p_validation_N: NDArray[np.float64] | None = None
    """P(WIN) of the validation rows, by the served file; None if not requested."""
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """Figures of the test rows as the child measured them, by predictor; the parent measures again."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """Further facts for the proof pack: device, threads, torch version, calibration."""
