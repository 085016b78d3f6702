"""How a failed promotion ends: aborted, rolled back, or superseded by an operator."""

from clm.errors import ArtefactError, PromotionError
from clm.ports import PromotionOutcome, PromotionState
from clm.promotion.announcements import rollback_initiated
from clm.promotion.plan import Step, Target, next_step
from clm.promotion.under_way import Promotion
from clm.promotion.verification import Effect

_SWITCHED = {PromotionState.SWITCHING, PromotionState.RESTARTING, PromotionState.ROLLING_BACK}

_PASSING = {"ENV_LOCKED", "SWITCH_BUSY", "SWITCH_FAILED"}
"""Transient errors: another program is at work, or the helper is unreachable. A rollback retries them."""
_PATIENCE = 20
_PASSING_WAIT_S = 3.0


class NotTaken(Exception):
    """The engine does not serve the target; the promotion is rolled back."""


class Withheld(Exception):
    """A freeze began during the promotion; nothing is switched, and the model waits for the thaw."""

    def __init__(self, held: PromotionOutcome) -> None:
        super().__init__(held.reason)
        self.waiting = held.waiting


class Superseded(Exception):
    """An operator changed the model during the promotion; their change stays."""


class Stopped(Exception):
    """An operator stopped the engine during the promotion; it is not started again."""


def give_up(promotion: Promotion, reason: str, was_running: bool) -> PromotionOutcome:
    """End a failed promotion: abort if nothing was switched, otherwise roll back."""
    try:
        switched = promotion.record.state in _SWITCHED and not _nothing_switched(promotion)
    except PromotionError as error:
        return end_unreadable(promotion, reason, error)
    if switched:
        return roll_back(promotion, reason, was_running)
    return abort(promotion, reason)


def end_unreadable(promotion: Promotion, reason: str, error: PromotionError) -> PromotionOutcome:
    """End a promotion whose environment file is invalid; leave it open if the file is unreadable."""
    if error.code == "ENV_UNREADABLE":
        raise error
    return hands_off(promotion, f"{reason}; then {error}")


def abort(promotion: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion before any visible switch, and remove the staged file."""
    promotion.discard_candidate()
    return promotion.outcome(PromotionState.ABORTED, reason)


def roll_back(promotion: Promotion, reason: str, must_serve: bool) -> PromotionOutcome:
    """Restore the previous model and verify it; if that fails, send an alert and stop."""
    if promotion.record.state is not PromotionState.ROLLING_BACK:
        started_back = rollback_initiated(promotion.work, promotion.record, reason)
        promotion.advance(PromotionState.ROLLING_BACK, reason, events=[started_back])
    previous = promotion.record.previous_path
    target = Target(model_path=previous, must_serve=must_serve or previous is not None)
    trouble, tries, patience = reason, promotion.work.policy.max_attempts, _PATIENCE
    while tries:
        promotion.restarted = promotion.confirmed = False
        try:
            while step := next_step(promotion.observed(target), target):
                _step_back(promotion, step, target)
            promotion.discard_candidate()
            return promotion.outcome(PromotionState.ROLLED_BACK, reason + promotion.inconclusive())
        except Superseded as why:
            return hands_off(promotion, str(why))
        except (NotTaken, PromotionError, ArtefactError) as error:
            trouble = str(error)
            if patience and isinstance(error, PromotionError) and error.code in _PASSING:
                patience -= 1
                promotion.work.clock.sleep(_PASSING_WAIT_S)
            else:
                tries -= 1
    message = f"{reason}; the previous model could not be restored: {trouble}"
    return promotion.outcome(PromotionState.ROLLBACK_FAILED, message, alert="critical")


def give_up_for_good(promotion: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion whose recovery was interrupted too often: only restore the environment file."""
    message = f"{reason}; given up after {promotion.record.store_count} writes of its record"
    try:
        if promotion.names_candidate():
            promotion.point(promotion.record.previous_path)
        message += f"; the environment file names {promotion.env_value() or 'no model'}"
    except (PromotionError, ArtefactError) as error:
        message += f"; the environment file could not be restored: {error}"
    return promotion.outcome(PromotionState.ROLLBACK_FAILED, message, alert="critical")


def _step_back(promotion: Promotion, step: Step, target: Target) -> None:
    if step is Step.INSTALL:
        raise NotTaken(f"{target.model_path} is gone or changed")
    if step is Step.POINT:
        if not promotion.names_candidate():
            raise Superseded(f"an operator pointed the engine to {promotion.env_value() or 'no model'}")
        promotion.point(target.model_path)
        return
    # Before the engine starts: one version of it loads the newest file it finds.
    promotion.discard_candidate()
    if step is Step.RESTART:
        promotion.restart()
        return
    seen = promotion.confirm(target.model_path)
    if seen.effect is not Effect.CONFIRMED:
        raise NotTaken(seen.reason)


def stand_down(promotion: Promotion, reason: str) -> PromotionOutcome:
    """Restore the file for the engine's next start; the operator who stopped the engine starts it."""
    try:
        if promotion.names_candidate():
            promotion.point(promotion.record.previous_path)
        promotion.discard_candidate()
    except (PromotionError, ArtefactError) as error:
        return roll_back(promotion, f"{reason}; {error}", must_serve=True)
    return hands_off(promotion, f"{reason}; the environment file names the previous model again")


def hands_off(promotion: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion superseded by an operator: send an alert and change nothing more."""
    return promotion.outcome(PromotionState.SUPERSEDED, reason, alert="warning")


def _nothing_switched(promotion: Promotion) -> bool:
    return promotion.record.state is PromotionState.SWITCHING and promotion.names_previous()
