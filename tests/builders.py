"""Values that tests are made of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from clm.data.dataset import DataPolicy
from clm.data.findings import AuditPolicy
from clm.data.reading import RAW_COLUMNS, RawSamples
from clm.data.simulator import simulate
from clm.data.splits import SplitPolicy
from clm.domain.job import TrainingSpec
from clm.domain.line import DEFAULT_LINE
from clm.evaluation.evaluation import EvaluationPolicy
from clm.gates.policy import GatePolicy
from clm.ports import PromotionStart, RunEnd, RunStart, RunStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run_start(run_id: str = "p07_1", **changes: object) -> RunStart:
    """A run without a task."""
    values: dict[str, object] = {
        "run_id": run_id,
        "family": DEFAULT_LINE.family,
        "started_at": NOW,
        "trigger_reason": "cli",
    }
    return RunStart(**{**values, **changes})


def run_end(run_id: str = "p07_1", **changes: object) -> RunEnd:
    """A run that rejected its candidate after five minutes."""
    values: dict[str, object] = {
        "run_id": run_id,
        "status": RunStatus.COMPLETED,
        "completed_at": NOW + timedelta(minutes=5),
        "reason": "no skill",
        "judged": True,
        "decision": "REJECT",
    }
    return RunEnd(**{**values, **changes})


def promotion_start(path: Path, sha256: str, **changes: object) -> PromotionStart:
    """A promotion of the file at `path`, in place of no model."""
    values: dict[str, object] = {
        "run_id": "p07_1",
        "version": path.stem,
        "candidate_path": path,
        "candidate_sha256": sha256,
        "previous_path": None,
        "previous_sha256": None,
        "env_sha256_before": "e" * 64,
    }
    return PromotionStart(**{**values, **changes})


def raw_samples(n_samples: int = 1500, *, seed: int = 3, until: datetime = NOW) -> RawSamples:
    """Rows as the store would give them, with signal in them."""
    rows = (sample.as_row() for sample in simulate(seed=seed, n_samples=n_samples, until=until, n_symbols=2))
    return RawSamples(rows=[tuple(row[name] for name in RAW_COLUMNS) for row in rows])


def data_policy() -> DataPolicy:
    """The default cut of time."""
    return DataPolicy(
        context_length=128,
        target="win",
        features=(),
        split=SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=1.0),
    )


def audit_policy() -> AuditPolicy:
    """A few hundred samples are enough."""
    return AuditPolicy(min_samples=200, max_bad_share=0.05, max_staleness_days=14)


def training_spec(**changes: object) -> TrainingSpec:
    """A training that takes seconds."""
    values: dict[str, object] = {
        "architecture": "engine",
        "epochs": 2,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "class_weights": True,
        "patience": 2,
        "seed": 7,
        "threads": 1,
    }
    return TrainingSpec(**{**values, **changes})


def evaluation_policy() -> EvaluationPolicy:
    """Intervals that are quick to compute."""
    return EvaluationPolicy(
        bootstrap_replicates=200, confidence=0.95, block_h=24.0, seed=7, fee_bps=4.0, slippage_bps=1.0
    )


def gate_policy() -> GatePolicy:
    """The default bars."""
    return GatePolicy(
        max_action_share=0.70,
        min_action_share=0.10,
        min_confidence_std=0.05,
        min_confidence_range=0.12,
        collapsed_std=0.02,
        collapsed_range=0.05,
        logistic_margin=0.01,
        champion_margin=0.01,
        max_ece=0.08,
        required_symbols=(),
        require_profit=False,
        max_file_mb=50.0,
        max_prediction_ms=20.0,
        allow_first_champion=True,
    )
