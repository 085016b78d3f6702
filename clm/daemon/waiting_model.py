"""Promote a model that waited for a thaw: once, and only against the champion it was judged against."""

import structlog

from clm.clock import iso
from clm.domain.waiting import WaitingModel, WaitsFor
from clm.errors import ArtefactError
from clm.events import PerformanceAlert
from clm.ports import PromotionKind, PromotionOutcome, PromotionRequest, PromotionState
from clm.wiring import Wired

log = structlog.get_logger()


def take_up(wired: Wired, model: WaitingModel) -> PromotionOutcome | None:
    """Promote the waiting model and return the outcome, or None if it is not promoted automatically.

    The waiting record is removed after the promotion. A crash in between is harmless: the next check finds it
    as champion, or finds its lineage among those already tried.

    Raises:
        PromotionBusy, StoreBusy, Interrupted: it still waits.
    """
    champion = wired.promoter.champion()
    # A crash after the promotion and before the record was removed leads here.
    if champion is not None and champion.version == model.version:
        wired.journal.end_waiting(model.run_id, f"{model.version} is the champion now")
        return None
    # Compare path and hash: a file may be replaced under the same name.
    judged = (model.waiting.champion_path, model.waiting.champion_sha256)
    now = (str(champion.path), champion.sha256) if champion else (None, None)
    if judged != now:
        before, named = judged[0] or "no champion", now[0] or "no champion"
        _end(wired, model, f"it was judged against {before}, and the champion is now {named}")
        return None
    if broken := wired.journal.standing().broken_because:
        _end(wired, model, f"the ledger is broken, attempts cannot be counted: {broken}")
        return None
    try:
        artefact = wired.registry.get(model.version)
    except ArtefactError as error:
        _end(wired, model, str(error))
        return None
    reason = f"passed in run {model.run_id}, waited for the thaw"
    request = PromotionRequest(kind=PromotionKind.CYCLE, reason=reason, instead_of=champion)
    outcome = wired.promoter.promote(artefact, model.run_id, request)
    _settle(wired, model, outcome)
    return outcome


def _settle(wired: Wired, model: WaitingModel, outcome: PromotionOutcome) -> None:
    """Record the outcome, unless a freeze or another promotion intervened: then the model keeps waiting."""
    if outcome.code == "PROMOTION_BUSY" or (outcome.waiting and outcome.waiting.waits_for is WaitsFor.THAW):
        log.info("promotion.waits_on", version=model.version, reason=outcome.reason)
    elif outcome.code or outcome.state is PromotionState.WAITING:
        _end(wired, model, outcome.reason)
    else:
        reason = f"{outcome.state.value}: {outcome.reason}"
        wired.journal.end_waiting(model.run_id, reason)
        log.info(
            "promotion.taken_up", version=model.version, state=outcome.state.value, reason=outcome.reason
        )


def _end(wired: Wired, model: WaitingModel, reason: str) -> None:
    """Leave the model to an operator, with an alert: no promotion began that would publish an event."""
    message = (
        f"{model.version} waited for the thaw and is not promoted automatically: {reason}; the next cycle "
        f"judges again, or `clm promote {model.version}`"
    )
    log.warning("promotion.not_taken_up", version=model.version, reason=reason)
    alert = PerformanceAlert(
        model_id=model.version,
        severity="warning",
        message=message,
        timestamp=iso(wired.clock.now()),
        metadata={"run_id": model.run_id, "waited_for": WaitsFor.THAW.value},
    )
    wired.journal.end_waiting(model.run_id, message, [alert])
