"""What the core needs of the world; adapters in store, bus, promotion and daemon fulfil these."""

from clm.ports.delivery import Outbox, OutboxRow, TaskQueue
from clm.ports.learning import (
    Brake,
    CandleSource,
    Journal,
    Prover,
    Registry,
    RunRecord,
    RunStatus,
    SampleSource,
    SignalProbe,
    Trainer,
)
from clm.ports.promotion import (
    Engine,
    EngineObservation,
    EngineStatus,
    Promoter,
    PromotionLog,
    PromotionOutcome,
    PromotionRecord,
    PromotionState,
    Switch,
)
from clm.ports.time import Clock, StopSignal

__all__ = [
    "Brake",
    "CandleSource",
    "Clock",
    "Engine",
    "EngineObservation",
    "EngineStatus",
    "Journal",
    "Outbox",
    "OutboxRow",
    "Promoter",
    "PromotionLog",
    "PromotionOutcome",
    "PromotionRecord",
    "PromotionState",
    "Prover",
    "Registry",
    "RunRecord",
    "RunStatus",
    "SampleSource",
    "SignalProbe",
    "StopSignal",
    "Switch",
    "TaskQueue",
    "Trainer",
]
