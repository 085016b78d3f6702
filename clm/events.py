"""Published events: frozen past-tense records, listed in EVENTS.

Stream names and payload fields are those of the existing system. Time stamps are RFC 3339 UTC,
except `promoted_at`, which the existing readers expect in epoch seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `event_type` names the stream."""

    event_type: ClassVar[str]

    def payload(self) -> dict[str, object]:
        """Return the JSON object for the envelope."""
        return {"event_type": self.event_type, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingStarted(Event):
    """A cycle began."""

    event_type: ClassVar[str] = "learning.retraining.started"
    model: str
    timestamp: str
    job_id: str
    trigger_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingCompleted(Event):
    """A cycle reached a decision."""

    event_type: ClassVar[str] = "learning.retraining.completed"
    model: str
    timestamp: str
    job_id: str
    model_path: str
    duration_seconds: float
    status: str
    """promoted, held, rejected, refused, waiting, or the state of a promotion that did not succeed."""
    reason: str
    findings: Sequence[Mapping[str, object]] = ()
    """Diagnosed problems, the cause first: name, statistic, threshold, message, next_step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingFailed(Event):
    """A cycle failed before its decision."""

    event_type: ClassVar[str] = "learning.retraining.failed"
    model: str
    timestamp: str
    job_id: str
    error: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPromoted(Event):
    """The engine runs on a new model; verified by observation."""

    event_type: ClassVar[str] = "model.promoted"
    model_name: str
    old_version: str
    new_version: str
    accuracy: float
    precision: float
    recall: float
    f1_score: float
    promoted_at: float
    promoted_by: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackInitiated(Event):
    """The engine did not load the new model; a rollback begins."""

    event_type: ClassVar[str] = "model.rollback_initiated"
    model_id: str
    reason: str
    timestamp: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionStarted(Event):
    """A promotion begins; exactly one event for its end follows."""

    event_type: ClassVar[str] = "model.promotion_started"
    model_id: str
    reason: str
    timestamp: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRolledBack(Event):
    """The previous model serves again, verified by observation; the promotion has ended."""

    event_type: ClassVar[str] = "model.rolled_back"
    model_id: str
    back_to: str
    reason: str
    timestamp: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionEnded(Event):
    """A promotion was aborted or superseded, or its rollback failed."""

    event_type: ClassVar[str] = "model.promotion_ended"
    model_id: str
    state: str
    reason: str
    timestamp: str
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceAlert(Event):
    """An alert that needs an operator."""

    event_type: ClassVar[str] = "learning.performance.alert"
    model_id: str
    severity: str
    message: str
    timestamp: str
    metadata: Mapping[str, object] = field(default_factory=dict)


EVENTS: tuple[type[Event], ...] = (
    RetrainingStarted,
    RetrainingCompleted,
    RetrainingFailed,
    PromotionStarted,
    ModelPromoted,
    RollbackInitiated,
    ModelRolledBack,
    PromotionEnded,
    PerformanceAlert,
)
