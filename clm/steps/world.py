"""What a cycle works with: the operator's decisions, the adapters, the request, and its run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec

from clm.data.audits import AuditPolicy
from clm.data.dataset import DataPolicy
from clm.data.floor import FloorPolicy
from clm.diagnosis import ProbePolicy
from clm.domain.job import EpochReport, TrainingSpec
from clm.domain.line import Line
from clm.domain.task import Task
from clm.errors import Interrupted
from clm.evaluation.evaluation import EvaluationPolicy
from clm.gates.policy import GatePolicy
from clm.ports import (
    Asker,
    Brake,
    CandleSource,
    Clock,
    Journal,
    Promoter,
    Registry,
    SampleSource,
    StopSignal,
    Telemetry,
    Trainer,
)
from clm.steps.results import R
from clm.steps.run import RunInProgress

P = ParamSpec("P")

_PHASES = {"look_back": "read", "check_floor": "signal", "check_load": "prove", "settle": "judge"}
"""Names in `seconds` of the proof pack that differ from the name of the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisPolicy:
    """How the cause of a rejection is searched."""

    budget_s: float = 0.0
    """Seconds for the measurements in a child process; 0 measures nothing: their probes answer UNKNOWN."""
    probes: ProbePolicy = field(default_factory=ProbePolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPolicy:
    """The trials after a rejection, and where their study is stored."""

    trials: int = 0
    budget_s: float = 0.0
    storage: Path = Path()
    family: str = ""
    """Model family; the name of each study starts with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The decisions of the operator, from the settings."""

    history_days: int
    """0 reads all rows."""
    max_rows: int
    data: DataPolicy
    audit: AuditPolicy
    training: TrainingSpec
    train_timeout_s: float
    evaluation: EvaluationPolicy
    gates: GatePolicy
    promote: bool
    """False if a person promotes, whatever the mode."""
    floor: FloorPolicy | None = None
    """None if the skill of plain models is not measured."""
    load_check: bool = True
    """False if no fresh process loads the file; gates 9 and 10 then do not answer."""
    diagnosis: DiagnosisPolicy = field(default_factory=DiagnosisPolicy)
    tuning: TuningPolicy = field(default_factory=TuningPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The model line a cycle works for, and the adapters it works with."""

    line: Line
    clock: Clock
    source: SampleSource
    trainer: Trainer
    asker: Asker
    registry: Registry
    promoter: Promoter
    journal: Journal
    brake: Brake
    runs_dir: Path
    code_version: str
    candles: CandleSource | None = None
    """None if windows are made of samples."""
    telemetry: Telemetry | None = None
    """None if the predictions of the served model are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asked for a cycle, why, and who follows it."""

    task: Task | None
    """None for a run at the command line."""
    reason: str
    stop: StopSignal
    on_epoch: Callable[[EpochReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One learning cycle: each step is a function that takes this and records, and returns one record."""

    world: World
    policies: Policies
    request: Request
    run: RunInProgress

    def step(self, function: Callable[Concatenate["Cycle", P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a step, time it under its name and keep its record for the report.

        Raises:
            Interrupted: the stop signal was set before the step.
        """
        if self.request.stop.is_set():
            why = f"run {self.run.run_id} was asked to stop before the step {function.__name__}"
            raise Interrupted("STOPPING", f"{why}; the engine was not changed, another run repeats the cycle")
        return self.uninterrupted(function, *args, **kwargs)

    def uninterrupted(
        self, function: Callable[Concatenate["Cycle", P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a step that has to follow the one before it, whatever the stop signal says."""
        name = function.__name__
        with self.run.phase(_PHASES.get(name, name)):
            record = function(self, *args, **kwargs)
        self.run.keep(record)
        return record
