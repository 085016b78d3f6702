"""Events of a promotion: one for its start, one for its end, and alerts."""

import math

import structlog

from clm.artefacts.manifest import Artefact
from clm.clock import iso
from clm.errors import ArtefactError
from clm.events import (
    Event,
    ModelPromoted,
    ModelRolledBack,
    PerformanceAlert,
    PromotionEnded,
    PromotionStarted,
    RollbackInitiated,
)
from clm.ports import PromotionRow, PromotionState
from clm.promotion.policy import Workplace

log = structlog.get_logger(__name__)


def started(
    work: Workplace, *, version: str, promotion_id: int, run_id: str, kind: str, asked: str
) -> PromotionStarted:
    """Return the event for the start of a promotion."""
    return PromotionStarted(
        model_id=version,
        reason=asked,
        timestamp=iso(work.clock.now()),
        metadata={"promotion_id": promotion_id, "run_id": run_id, "kind": kind},
    )


def ended(work: Workplace, record: PromotionRow, state: PromotionState, reason: str) -> Event:
    """Return the one event for the end of a promotion."""
    now = iso(work.clock.now())
    if state is PromotionState.COMMITTED:
        return _promoted(work, record)
    if state is PromotionState.ROLLED_BACK:
        return ModelRolledBack(
            model_id=record.version,
            back_to=_previous_version(record),
            reason=reason,
            timestamp=now,
            metadata=_metadata(record),
        )
    return PromotionEnded(
        model_id=record.version,
        state=state.value,
        reason=reason,
        timestamp=now,
        metadata=_metadata(record),
    )


def rollback_initiated(work: Workplace, record: PromotionRow, reason: str) -> RollbackInitiated:
    """Return the event for the start of a rollback."""
    return RollbackInitiated(
        model_id=record.version,
        reason=reason,
        timestamp=iso(work.clock.now()),
        metadata={**_metadata(record), "back_to": _previous_version(record)},
    )


def alert(work: Workplace, record: PromotionRow, severity: str, message: str) -> PerformanceAlert:
    """Return an alert for the operator."""
    return PerformanceAlert(
        model_id=record.version,
        severity=severity,
        message=message,
        timestamp=iso(work.clock.now()),
        metadata=_metadata(record),
    )


def _promoted(work: Workplace, record: PromotionRow) -> ModelPromoted:
    """Return the success event with the metrics of the model's evaluation."""
    artefact = _artefact(work, record)
    metrics = artefact.manifest.metrics if artefact else {}
    return ModelPromoted(
        model_name=work.line.family,
        old_version=_previous_version(record),
        new_version=record.version,
        accuracy=metrics.get("accuracy", math.nan),
        precision=metrics.get("precision", math.nan),
        recall=metrics.get("recall", math.nan),
        f1_score=metrics.get("f1", math.nan),
        promoted_at=work.clock.now().timestamp(),
        promoted_by="quantum-clm",
        metadata={
            **_metadata(record),
            "model_path": str(record.candidate_path),
            "sha256": record.candidate_sha256,
            "reason": record.asked,
        },
    )


def _metadata(record: PromotionRow) -> dict[str, object]:
    return {"promotion_id": record.promotion_id, "run_id": record.run_id, "kind": record.kind.value}


def _previous_version(record: PromotionRow) -> str:
    return record.previous_path.stem if record.previous_path else "none"


def _artefact(work: Workplace, record: PromotionRow) -> Artefact | None:
    try:
        return work.registry.get(record.version)
    except ArtefactError as error:
        # The engine already serves the model; a missing manifest is no reason to roll back.
        log.warning("promotion.manifest_unreadable", code=error.code, error=error.message)
        return None
