"""Whether a promotion is allowed, and when it needs an operator."""

from collections.abc import Sequence
from pathlib import Path

from clm.errors import PromotionError
from clm.ports import Control, Controls, PromotionKind, PromotionRequest, PromotionState
from clm.promotion.candidate import Candidate
from clm.promotion.policy import Workplace

_FAILURES = {PromotionState.ROLLED_BACK, PromotionState.ROLLBACK_FAILED}


def withheld(
    *, mode: str, promote_live: bool, shadow_only: bool, shadow_key: str, controls: Controls
) -> str | None:
    """Return why a model that passed waits for an operator, or None if it is promoted automatically."""
    if mode == "manual":
        return "the mode is manual"
    if not shadow_only and not promote_live:
        return f"the engine is live ({shadow_key} is not true), so the mode counts as manual"
    if pause := controls.get(Control.PAUSE):
        return f"paused since {pause.since}: {pause.reason}"
    if pin := controls.get(Control.PIN):
        return f"{pin.value} is pinned since {pin.since}: {pin.reason}"
    if hold := controls.get(Control.SUSPENDED):
        return f"held since {hold.since}: {hold.reason}; `clm resume` lifts it"
    return None


def refuse_unwanted(
    work: Workplace, candidate: Candidate, request: PromotionRequest, previous: Path | None
) -> None:
    """Return if this request is allowed while the engine is pointed to `previous`.

    Raises:
        PromotionError: CHAMPION_MOVED if the cycle judged against another champion; PINNED; ALREADY_TRIED.
    """
    champion = request.instead_of.path if request.instead_of else None
    if request.kind is PromotionKind.CYCLE and champion != previous:
        raise PromotionError(
            "CHAMPION_MOVED",
            f"{candidate.version} was judged against {champion or 'no champion'} while {previous or 'none'} "
            "is the champion now; the next cycle judges again",
        )
    pin = work.log.controls().get(Control.PIN)
    if pin is not None and pin.value != candidate.version:
        raise PromotionError(
            "PINNED", f"{pin.value} is pinned since {pin.since}: {pin.reason}; `clm pin --off` first"
        )
    if request.override or request.kind is PromotionKind.ROLLBACK or candidate.lineage_sha256 is None:
        return
    if tried := work.log.ended_like(candidate.lineage_sha256):
        raise PromotionError(
            "ALREADY_TRIED",
            f"{candidate.version} is made of the same data, code and settings as {tried.version}, whose "
            f"promotion ended {tried.state.value}; wait for new data, or override it with a reason",
        )


def held_after(before: Sequence[PromotionState], now: PromotionState, version: str) -> str:
    """Return why automatic promotion is off after this end, or "" if it stays on.

    `before` lists the earlier ends, newest first, of promotions that reached the engine.
    """
    if now is PromotionState.ROLLBACK_FAILED:
        return f"the rollback of {version} failed; nothing is promoted automatically until `clm resume`"
    if now is PromotionState.ROLLED_BACK and before and before[0] in _FAILURES:
        return (
            f"{version} is the second rollback in a row; nothing is promoted automatically until `clm resume`"
        )
    return ""
