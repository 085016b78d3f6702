"""What a cycle learns from, and where it is recorded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clm.artefacts.manifest import Artefact, Manifest
from clm.data.candles.series import Candles
from clm.data.dataset import Dataset
from clm.data.reading import SampleColumns
from clm.domain.freeze import Freeze
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.domain.ledger import LedgerEntry, LedgerStanding
from clm.domain.measurement import LivePredictions
from clm.domain.task import Task
from clm.events import Event
from clm.ports.time import StopSignal


class SampleSource(Protocol):
    """Where samples come from."""

    def read(self, since: datetime | None, max_rows: int) -> SampleColumns:
        """Return the rows decided at or after `since` as of one moment; the connection is closed after.

        Raises:
            DataError: STORE_MISSING, STORE_EMPTY, STORE_CORRUPT, SCHEMA, DATA_TOO_BIG.
            StoreBusy: the lock was held for too long.
        """
        ...

    def newest(self) -> datetime | None:
        """Return when the newest sample was decided, None for an empty table."""
        ...


class CandleSource(Protocol):
    """Where market candles come from."""

    def read(self) -> Candles:
        """Return all candles there are, checked; what is wrong with them is in the reports.

        Raises:
            DataError: CANDLES_MISSING, CANDLES_UNREADABLE, CANDLES_COLUMNS, CANDLES_MIXED_INTERVALS.
        """
        ...


class Telemetry(Protocol):
    """What the trading system reports about the model it serves."""

    def live_predictions(self) -> LivePredictions:
        """Return the latest ones, or why there are none; never fails."""
        ...


class Trainer(Protocol):
    """Trains in a child process."""

    def train(
        self,
        job: TrainingJob,
        dataset: Dataset,
        on_epoch: Callable[[EpochReport], None],
        stop: StopSignal,
    ) -> TrainingResult:
        """Train and return the checked result.

        Raises:
            TrainingError: MEMORY_BUDGET, CHILD_KILLED, CHILD_OOM, CHILD_TIMEOUT, CHILD_FAILED, NAN_LOSS,
                EXPORT_MISMATCH, JOB_UNREADABLE, ARCHITECTURE_UNKNOWN, DEVICE_ABSENT, RESULT_INVALID.
            Interrupted: `stop` was set; the child is gone.
        """
        ...


class Registry(Protocol):
    """Keeps every trained model, rejected ones too, outside the engine's models directory."""

    def new_version(self, now: datetime) -> str:
        """Return a version name that is not taken; the next free second on a clash."""
        ...

    def register(self, weights_path: Path, manifest: Manifest, golden: bytes = b"") -> Artefact:
        """Copy the file durably into a directory of its own, with its manifest and its golden rows."""
        ...

    def get(self, version: str) -> Artefact:
        """Return a registered artefact, its hash checked.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
        """
        ...


class RunStatus(StrEnum):
    """How a run ended; `model_training_runs.status` holds running, completed or failed."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """A run that begins: what it trains, when, and at whose request."""

    run_id: str
    family: str
    """Model family that is trained; a task that names a model has precedence."""
    started_at: datetime
    trigger_reason: str
    task: Task | None = None
    """None for a run without a task, such as `clm run`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended, and what its row in the ledger keeps."""

    run_id: str
    status: RunStatus
    completed_at: datetime
    reason: str
    judged: bool
    """True if a candidate was judged on the test rows; False costs no attempt."""
    decision: str | None = None
    version: str | None = None
    proof_path: Path | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    """May hold symbol_count, sample_count, feature_count, metrics; kept with the run."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    """Figures and hashes that the row in the ledger keeps for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of clm_runs."""

    run_id: str
    status: RunStatus
    decision: str | None
    version: str | None
    reason: str
    started_at: datetime
    completed_at: datetime | None
    trigger_reason: str
    proof_path: str | None
    ledger_row: int | None
    """Its number in the ledger; None while it runs."""
    notes: Mapping[str, object] = field(default_factory=dict)


class Journal(Protocol):
    """The durable record of runs; each write commits the row and its events together."""

    def start_run(self, start: RunStart, events: Sequence[Event]) -> None:
        """Insert a running run.

        Raises:
            DataError: RUN_EXISTS; the existing run is left as it is.
        """
        ...

    def append_model(
        self, artefact: Artefact, *, training_samples: int, seconds: float, validation_accuracy: float | None
    ) -> None:
        """Insert the candidate into ai_model_versions, not active."""
        ...

    def finish_run(self, end: RunEnd, events: Sequence[Event]) -> None:
        """Close the run and write its row in the ledger, with its events.

        Raises:
            DataError: RUN_UNKNOWN.
        """
        ...

    def append(self, entry: LedgerEntry) -> None:
        """Append an entry that does not belong to the end of a run, such as a tuning trial."""
        ...

    def standing(self) -> LedgerStanding:
        """Return what the ledger says to the next attempt."""
        ...

    def run(self, run_id: str) -> RunRow | None: ...
    def recent_runs(self, limit: int) -> list[RunRow]: ...


class Brake(Protocol):
    """Whatever may stop learning: the trading system's freeze keys, a pause, a full disk."""

    def frozen_because(self) -> str | None:
        """Return why nothing may be trained or promoted now, None where training may go on."""
        ...

    def freeze(self) -> Freeze:
        """Return the same with its kind, and whether automatic promotion is held back."""
        ...
