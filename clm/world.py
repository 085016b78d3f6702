"""What a cycle works with: the operator's decisions, and the adapters of the outside."""

from dataclasses import dataclass, field
from pathlib import Path

from clm.data.audits import AuditPolicy
from clm.data.dataset import DataPolicy
from clm.domain.job import TrainingSpec
from clm.domain.line import Line
from clm.evaluation.evaluation import EvaluationPolicy
from clm.examination import Examiner
from clm.gates.policy import GatePolicy
from clm.ladder import Ladder
from clm.ports import (
    Brake,
    CandleSource,
    Clock,
    Journal,
    Promoter,
    Prover,
    Registry,
    SampleSource,
    SignalProbe,
    Trainer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What an operator decided; made of the settings."""

    history_days: int
    """0 reads all."""
    max_rows: int
    data: DataPolicy
    audit: AuditPolicy
    training: TrainingSpec
    train_timeout_s: float
    evaluation: EvaluationPolicy
    gates: GatePolicy
    promote: bool
    """False leaves the switch to a person, whatever the mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The model line a cycle works for, and the adapters it works with."""

    line: Line
    clock: Clock
    source: SampleSource
    trainer: Trainer
    registry: Registry
    promoter: Promoter
    journal: Journal
    brake: Brake
    runs_dir: Path
    code_version: str
    candles: CandleSource | None = None
    """None where windows are made of samples."""
    signal: SignalProbe | None = None
    """None where nobody asks whether there is anything to learn."""
    prover: Prover | None = None
    """None where no fresh process is asked to load the file; gates 9 and 10 then wait."""
    examiner: Examiner = field(default_factory=Examiner)
    """Says why a candidate was rejected."""
    ladder: Ladder = field(default_factory=Ladder)
    """Tries what may repair it."""
