"""What the core needs of the world; adapters in store, bus, promotion and daemon fulfil these."""

from clm.ports.asking import Asker, PreparedChild
from clm.ports.delivery import BusState, Outbox, OutboxRow, TaskQueue
from clm.ports.engine import Engine, EngineObservation, EngineStatus, OwnEngine, Switch
from clm.ports.learning import (
    Brake,
    CandleSource,
    Journal,
    Registry,
    RunEnd,
    RunRow,
    RunStart,
    RunStatus,
    SampleSource,
    Telemetry,
    Trainer,
)
from clm.ports.promotion import (
    Control,
    Controls,
    ControlSet,
    Promoter,
    PromotionKind,
    PromotionLog,
    PromotionOutcome,
    PromotionRequest,
    PromotionRow,
    PromotionStart,
    PromotionState,
    Reign,
)
from clm.ports.time import Clock, StopSignal
from clm.ports.waiting import held_by

__all__ = [
    "Asker",
    "Brake",
    "BusState",
    "CandleSource",
    "Clock",
    "Control",
    "ControlSet",
    "Controls",
    "Engine",
    "EngineObservation",
    "EngineStatus",
    "Journal",
    "Outbox",
    "OutboxRow",
    "OwnEngine",
    "PreparedChild",
    "Promoter",
    "PromotionKind",
    "PromotionLog",
    "PromotionOutcome",
    "PromotionRequest",
    "PromotionRow",
    "PromotionStart",
    "PromotionState",
    "Registry",
    "Reign",
    "RunEnd",
    "RunRow",
    "RunStart",
    "RunStatus",
    "SampleSource",
    "StopSignal",
    "Switch",
    "TaskQueue",
    "Telemetry",
    "Trainer",
    "held_by",
]
