"""A promotion on its way to the candidate: each step that is still to be taken, and the way back from any."""

from dataclasses import replace
from pathlib import Path

from clm.errors import ArtefactError, PromotionError
from clm.ports import PromotionOutcome, PromotionState
from clm.promotion.endings import (
    NotTaken,
    Stopped,
    Superseded,
    Withheld,
    abort,
    give_up,
    hands_off,
    stand_down,
)
from clm.promotion.plan import Step, Target, next_step
from clm.promotion.under_way import Promotion
from clm.promotion.verification import Effect


def go_forward(attempt: Promotion, source: Path | None, was_running: bool) -> PromotionOutcome:
    """Take every step to the candidate; on the first that fails, take every step back."""
    target = Target(model_path=attempt.record.candidate_path)
    try:
        while step := next_step(attempt.observed(target), target):
            _take(attempt, step, source)
        reason = f"the engine (pid {attempt.pid}) runs on {attempt.record.candidate_path}"
        return attempt.outcome(PromotionState.COMMITTED, reason)
    except Superseded as why:
        return hands_off(attempt, str(why))
    except Stopped as why:
        return stand_down(attempt, str(why))
    except Withheld as why:
        return replace(abort(attempt, str(why)), waiting=why.waiting)
    except (NotTaken, PromotionError, ArtefactError) as error:
        return give_up(attempt, str(error), was_running)


def _take(attempt: Promotion, step: Step, source: Path | None) -> None:
    state, record = attempt.record.state, attempt.record
    if step is Step.INSTALL:
        if state is not PromotionState.PREPARED or not (source or record.candidate_path.exists()):
            raise NotTaken(f"{record.candidate_path} was removed or changed meanwhile")
        attempt.install(source)
        return
    if state is PromotionState.PREPARED:
        attempt.advance(PromotionState.STAGED)
    if step is Step.POINT:
        _point(attempt)
    elif step is Step.RESTART:
        attempt.count()
        attempt.restart()
    else:
        attempt.count()
        seen = attempt.confirm(record.candidate_path)
        if seen.effect is Effect.STOPPED:
            raise Stopped(seen.reason)
        if seen.effect is not Effect.CONFIRMED:
            raise NotTaken(seen.reason)


def _point(attempt: Promotion) -> None:
    if not attempt.names_previous():
        raise Superseded(f"somebody pointed the engine to {attempt.env_value() or 'no model'} meanwhile")
    if attempt.record.state is PromotionState.RESTARTING:
        raise NotTaken("somebody put the previous model back meanwhile")
    if held := attempt.held():
        raise Withheld(held)
    attempt.advance(PromotionState.SWITCHING)
    if not attempt.candidate_is_whole():
        raise NotTaken(f"{attempt.record.candidate_path} was removed or changed meanwhile")
    attempt.point(attempt.record.candidate_path)
