"""Take the remaining steps of a promotion, or roll back from any of them."""

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


def go_forward(promotion: Promotion, source: Path | None, was_running: bool) -> PromotionOutcome:
    """Take every step to the candidate; on the first failure, roll back."""
    target = Target(model_path=promotion.record.candidate_path)
    try:
        while step := next_step(promotion.observed(target), target):
            _take(promotion, step, source)
        reason = f"the engine (pid {promotion.pid}) runs on {promotion.record.candidate_path}"
        return promotion.outcome(PromotionState.COMMITTED, reason)
    except Superseded as why:
        return hands_off(promotion, str(why))
    except Stopped as why:
        return stand_down(promotion, str(why))
    except Withheld as why:
        return replace(abort(promotion, str(why)), waiting=why.waiting)
    except (NotTaken, PromotionError, ArtefactError) as error:
        return give_up(promotion, str(error), was_running)


def _take(promotion: Promotion, step: Step, source: Path | None) -> None:
    state, record = promotion.record.state, promotion.record
    if step is Step.INSTALL:
        if state is not PromotionState.PREPARED or not (source or record.candidate_path.exists()):
            raise NotTaken(f"{record.candidate_path} was removed or changed during the promotion")
        promotion.install(source)
        return
    if state is PromotionState.PREPARED:
        promotion.advance(PromotionState.STAGED)
    if step is Step.POINT:
        _point(promotion)
    elif step is Step.RESTART:
        promotion.count()
        promotion.restart()
    else:
        promotion.count()
        seen = promotion.confirm(record.candidate_path)
        if seen.effect is Effect.STOPPED:
            raise Stopped(seen.reason)
        if seen.effect is not Effect.CONFIRMED:
            raise NotTaken(seen.reason)


def _point(promotion: Promotion) -> None:
    if not promotion.names_previous():
        raise Superseded(f"an operator pointed the engine to {promotion.env_value() or 'no model'}")
    if promotion.record.state is PromotionState.RESTARTING:
        raise NotTaken("an operator restored the previous model")
    if held := promotion.held():
        raise Withheld(held)
    promotion.advance(PromotionState.SWITCHING)
    if not promotion.candidate_is_whole():
        raise NotTaken(f"{promotion.record.candidate_path} was removed or changed during the promotion")
    promotion.point(promotion.record.candidate_path)
