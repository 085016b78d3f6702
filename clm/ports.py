"""What the core needs of the world; adapters in store, bus, promotion and daemon fulfil these."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clm.artefacts.manifest import Artefact, Manifest
from clm.data.dataset import Dataset
from clm.data.reading import RawSamples
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingResult
from clm.domain.task import Delivery, Task, Trigger
from clm.events import Event


class Clock(Protocol):
    """Told time: wall clock in aware UTC, monotonic clock for waits."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SampleSource(Protocol):
    """Where samples come from."""

    def read(self, since: datetime | None, max_rows: int) -> RawSamples:
        """Return the rows decided at or after `since` in one short read; the connection is closed after.

        Raises:
            DataError: STORE_MISSING, STORE_EMPTY, STORE_CORRUPT, SCHEMA, DATA_TOO_BIG.
            StoreBusy: the lock was held for too long.
        """
        ...

    def newest(self) -> datetime | None:
        """Return when the newest sample was decided, None for an empty table."""
        ...


class StopSignal(Protocol):
    """Asked by long work whether it shall end; threading.Event fulfils it."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


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
            TrainingError: CHILD_KILLED, CHILD_OOM, CHILD_TIMEOUT, CHILD_FAILED, NAN_LOSS, RESULT_INVALID.
            Interrupted: `stop` was set; the child is gone.
        """
        ...


class Registry(Protocol):
    """Keeps every trained model, rejected ones too, outside the engine's models directory."""

    def new_version(self, now: datetime) -> str:
        """Return a version name that is not taken; the next free second on a clash."""
        ...

    def register(self, weights_path: Path, manifest: Manifest) -> Artefact:
        """Copy the file durably into a directory of its own, with its manifest."""
        ...

    def get(self, version: str) -> Artefact:
        """Return a registered artefact, its hash checked.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
        """
        ...


class PromotionState(StrEnum):
    """Where a promotion stands; promotion.md's states."""

    PREPARED = "PREPARED"
    STAGED = "STAGED"
    SWITCHING = "SWITCHING"
    RESTARTING = "RESTARTING"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    SUPERSEDED = "SUPERSEDED"

    @property
    def is_open(self) -> bool:
        """True while something is still to be done."""
        return self in {
            PromotionState.PREPARED,
            PromotionState.STAGED,
            PromotionState.SWITCHING,
            PromotionState.RESTARTING,
            PromotionState.ROLLING_BACK,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """A row of clm_promotions: what was meant, and how far it got."""

    promotion_id: int
    run_id: str
    version: str
    candidate_path: Path
    candidate_sha256: str
    previous_path: Path | None
    """None where the env file named no model before."""
    previous_sha256: str | None
    env_sha256_before: str
    state: PromotionState
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOutcome:
    """How a promotion ended, and what was changed on the server."""

    state: PromotionState
    version: str
    reason: str
    changes: tuple[str, ...]
    """Each one sentence: file installed, line rewritten, unit restarted."""
    engine_pid: int | None = None


class Promoter(Protocol):
    """Brings an artefact to the engine and proves it, or brings the previous one back."""

    def champion(self) -> ChampionRef | None:
        """Return the model that the engine's environment file names, None where it names none."""
        ...

    def promote(self, artefact: Artefact, run_id: str) -> PromotionOutcome:
        """Promote and verify by effect; every failure after the switch ends with the previous model.

        A promotion that cannot begin (no env file, no engine) ends ABORTED with the reason.
        """
        ...

    def recover(self) -> PromotionOutcome | None:
        """Bring an interrupted promotion to its end; None where there was none."""
        ...


class PromotionLog(Protocol):
    """The durable record of promotions; each write commits state and events together."""

    def open_promotion(self) -> PromotionRecord | None: ...
    def begin(
        self,
        *,
        run_id: str,
        version: str,
        candidate_path: Path,
        candidate_sha256: str,
        previous_path: Path | None,
        previous_sha256: str | None,
        env_sha256_before: str,
    ) -> PromotionRecord:
        """Insert a PREPARED row.

        Raises:
            PromotionError: PROMOTION_BUSY when one is open already.
        """
        ...

    def advance(
        self,
        promotion_id: int,
        state: PromotionState,
        *,
        reason: str = "",
        attempts: int | None = None,
        events: Sequence[Event] = (),
    ) -> PromotionRecord:
        """Store the next state with its events; COMMITTED also flips ai_model_versions.is_active."""
        ...

    def known_sha256(self, path: Path) -> str | None:
        """Return the recorded hash of a promoted file at this path, None for a stranger."""
        ...


class RunStatus(StrEnum):
    """How a run ended; `model_training_runs.status` holds running, completed or failed."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
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
    notes: Mapping[str, object] = field(default_factory=dict)


class Journal(Protocol):
    """The durable record of runs; each write commits the row and its events together."""

    def start_run(
        self,
        run_id: str,
        task: Task | None,
        started_at: datetime,
        trigger_reason: str,
        events: Sequence[Event],
    ) -> None: ...
    def record_model(
        self, artefact: Artefact, *, training_samples: int, seconds: float, validation_accuracy: float | None
    ) -> None:
        """Insert the candidate into ai_model_versions, not active."""
        ...

    def finish_run(
        self,
        run_id: str,
        *,
        status: RunStatus,
        completed_at: datetime,
        decision: str | None,
        version: str | None,
        reason: str,
        facts: Mapping[str, object],
        proof_path: Path | None,
        events: Sequence[Event],
    ) -> None:
        """Close the run; `facts` may hold symbol_count, sample_count, feature_count, metrics."""
        ...

    def run(self, run_id: str) -> RunRecord | None: ...
    def recent_runs(self, limit: int) -> list[RunRecord]: ...


class TaskQueue(Protocol):
    """The queue in front of the cycle; a trigger is in it durably before it is acknowledged."""

    def submit(self, trigger: Trigger, now: datetime) -> int:
        """Insert a task, or return the open one with the same dedupe key."""
        ...

    def accept(self, deliveries: Sequence[tuple[Delivery, Trigger]], now: datetime) -> list[int]:
        """Insert inbox rows and tasks of a batch in one transaction; a delivery seen before adds nothing."""
        ...

    def bury(self, delivery: Delivery, reason: str, now: datetime) -> None:
        """Note a delivery that can never be a task as dead."""
        ...

    def claim(self, now: datetime) -> Task | None:
        """Take the oldest pending task and mark it running, attempts + 1."""
        ...

    def complete(self, task_id: int, now: datetime, outcome: str) -> None: ...
    def release(self, task_id: int, now: datetime, reason: str) -> None:
        """Put a running task back to pending."""
        ...

    def fail(self, task_id: int, now: datetime, reason: str) -> None: ...
    def recover(self, now: datetime) -> list[str]:
        """At start: running tasks back to pending, running runs to interrupted; return those run ids."""
        ...

    def pending_count(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An event that waits to be published; `seq` orders events, times do not."""

    seq: int
    event_id: str
    event_type: str
    payload_json: str
    created_at: str
    trace_id: str
    correlation_id: str


class Outbox(Protocol):
    """Events written with the state they tell of."""

    def append(self, events: Sequence[Event], trace_id: str) -> None: ...
    def unpublished(self, limit: int) -> list[OutboxRow]: ...
    def mark_published(self, seqs: Sequence[int]) -> None: ...
    def waiting_count(self) -> int: ...


class Brake(Protocol):
    """The trading system's freeze keys."""

    def frozen_because(self) -> str | None:
        """Return why nothing may be trained or promoted now, None when it may or cannot be known."""
        ...


class EngineStatus(StrEnum):
    """What the service manager says of the engine."""

    ACTIVE = "active"
    ACTIVATING = "activating"
    INACTIVE = "inactive"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineObservation:
    """The engine as observed, never as meant."""

    status: EngineStatus
    main_pid: int | None
    invocation_id: str
    """Changes with every start."""
    restarts: int
    model_path: str | None
    """PATCHTST_MODEL_PATH of /proc/<pid>/environ; None where unreadable or unset."""
    detail: str = ""


class Engine(Protocol):
    """The unit (or process) that serves the model."""

    def observe(self) -> EngineObservation:
        """Raises PromotionError ENGINE_UNREACHABLE where the service manager does not answer."""
        ...

    def restart(self) -> None:
        """Clear a start limit and restart; returns when the start job is done.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED, ENGINE_UNREACHABLE.
        """
        ...
