"""How a promotion ends that does not end well: aborted, rolled back, or left to the person who stepped in."""

from clm.errors import ArtefactError, PromotionError
from clm.ports import PromotionOutcome, PromotionState
from clm.promotion.announcements import rollback_initiated
from clm.promotion.plan import Step, Target, next_step
from clm.promotion.under_way import Promotion
from clm.promotion.verification import Effect

_SWITCHED = {PromotionState.SWITCHING, PromotionState.RESTARTING, PromotionState.ROLLING_BACK}

_PASSING = {"ENV_LOCKED", "SWITCH_BUSY", "SWITCH_FAILED"}
"""Someone else is at work, or the helper was not reached: it passes, and the engine needs its way back."""
_PATIENCE = 20
_PASSING_WAIT_S = 3.0


class NotTaken(Exception):
    """The engine does not serve the target; the promotion goes back."""


class Withheld(Exception):
    """A freeze began after the promotion did; nothing is switched, and the model waits for the thaw."""

    def __init__(self, held: PromotionOutcome) -> None:
        super().__init__(held.reason)
        self.waiting = held.waiting


class Superseded(Exception):
    """A person decided otherwise meanwhile; we keep our hands off."""


class Stopped(Exception):
    """A person stopped the engine meanwhile; it is not started against their will."""


def give_up(attempt: Promotion, reason: str, was_running: bool) -> PromotionOutcome:
    """End a promotion that failed: aborted where nothing was switched, else rolled back."""
    try:
        switched = attempt.record.state in _SWITCHED and not _nothing_switched(attempt)
    except PromotionError as error:
        return no_telling(attempt, reason, error)
    if switched:
        return roll_back(attempt, reason, was_running)
    return abort(attempt, reason)


def no_telling(attempt: Promotion, reason: str, error: PromotionError) -> PromotionOutcome:
    """End a promotion whose environment file a person broke; one that cannot be read now stays open."""
    if error.code == "ENV_UNREADABLE":
        raise error
    return hands_off(attempt, f"{reason}; then {error}")


def abort(attempt: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion before anything visible was switched; the staged file goes."""
    attempt.discard_candidate()
    return attempt.outcome(PromotionState.ABORTED, reason)


def roll_back(attempt: Promotion, reason: str, must_serve: bool) -> PromotionOutcome:
    """Bring the previous model back and prove it; an alert where that fails, and hands off from then on."""
    if attempt.record.state is not PromotionState.ROLLING_BACK:
        started_back = rollback_initiated(attempt.work, attempt.record, reason)
        attempt.advance(PromotionState.ROLLING_BACK, reason, events=[started_back])
    previous = attempt.record.previous_path
    target = Target(model_path=previous, must_serve=must_serve or previous is not None)
    trouble, tries, patience = reason, attempt.work.policy.max_attempts, _PATIENCE
    while tries:
        attempt.restarted = attempt.confirmed = False
        try:
            while step := next_step(attempt.observed(target), target):
                _step_back(attempt, step, target)
            attempt.discard_candidate()
            return attempt.outcome(PromotionState.ROLLED_BACK, reason + attempt.inconclusive())
        except Superseded as why:
            return hands_off(attempt, str(why))
        except (NotTaken, PromotionError, ArtefactError) as error:
            trouble = str(error)
            if patience and isinstance(error, PromotionError) and error.code in _PASSING:
                patience -= 1
                attempt.work.clock.sleep(_PASSING_WAIT_S)
            else:
                tries -= 1
    message = f"{reason}; and the previous model could not be brought back: {trouble}"
    return attempt.outcome(PromotionState.ROLLBACK_FAILED, message, alert="critical")


def give_up_for_good(attempt: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion whose recovery was interrupted too often: the file goes back, nothing else is tried."""
    message = f"{reason}; given up after {attempt.record.store_count} writes of its record"
    try:
        if attempt.names_candidate():
            attempt.point(attempt.record.previous_path)
        message += f"; the environment file names {attempt.env_value() or 'no model'}"
    except (PromotionError, ArtefactError) as error:
        message += f"; the environment file could not be put back: {error}"
    return attempt.outcome(PromotionState.ROLLBACK_FAILED, message, alert="critical")


def _step_back(attempt: Promotion, step: Step, target: Target) -> None:
    if step is Step.INSTALL:
        raise NotTaken(f"{target.model_path} is gone or changed")
    if step is Step.POINT:
        if not attempt.names_candidate():
            raise Superseded(f"somebody pointed the engine to {attempt.env_value() or 'no model'} meanwhile")
        attempt.point(target.model_path)
        return
    # Before the engine starts: a generation of it takes the newest file it finds.
    attempt.discard_candidate()
    if step is Step.RESTART:
        attempt.restart()
        return
    seen = attempt.confirm(target.model_path)
    if seen.effect is not Effect.CONFIRMED:
        raise NotTaken(seen.reason)


def stand_down(attempt: Promotion, reason: str) -> PromotionOutcome:
    """Put the file back for the engine's next start, and leave the starting to whoever stopped it."""
    try:
        if attempt.names_candidate():
            attempt.point(attempt.record.previous_path)
        attempt.discard_candidate()
    except (PromotionError, ArtefactError) as error:
        return roll_back(attempt, f"{reason}; {error}", must_serve=True)
    return hands_off(attempt, f"{reason}; the environment file names the previous model again")


def hands_off(attempt: Promotion, reason: str) -> PromotionOutcome:
    """End a promotion that a person has overtaken, with an alert and without touching anything more."""
    return attempt.outcome(PromotionState.SUPERSEDED, reason, alert="warning")


def _nothing_switched(attempt: Promotion) -> bool:
    return attempt.record.state is PromotionState.SWITCHING and attempt.names_previous()
