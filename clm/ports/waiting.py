"""When a freeze holds an automatic promotion back."""

from clm.domain.freeze import Freeze, FreezeState
from clm.domain.waiting import Waiting, WaitsFor
from clm.ports.promotion import PromotionOutcome, PromotionRequest, PromotionState


def held_by(freeze: Freeze, version: str, request: PromotionRequest) -> PromotionOutcome | None:
    """Return the WAITING outcome where the freeze holds an automatic promotion back, None where it does not.

    Unknown and frozen keys end by themselves, so the model waits for the thaw. A pause or a full disk
    leaves it to a person, as before.
    """
    if not freeze.holds_promotion:
        return None
    is_halted = freeze.state is FreezeState.HALTED
    why = f"nothing is promoted while the system is frozen: {freeze.reason}"
    if freeze.state is FreezeState.UNKNOWN:
        why = f"nothing is promoted automatically while the freeze is unknown: {freeze.reason}"
    how = f"`clm promote {version}` brings it in"
    if not is_halted:
        words = ' --override "reason"' if freeze.state is FreezeState.FROZEN else ""
        how = f"the daemon takes it up once Redis says thawed; `clm promote {version}{words}` does it now"
    champion = request.instead_of
    return PromotionOutcome(
        state=PromotionState.WAITING,
        version=version,
        reason=f"{why}; {how}",
        changes=(),
        waiting=Waiting(
            waits_for=WaitsFor.PERSON if is_halted else WaitsFor.THAW,
            champion_path=str(champion.path) if champion else None,
            champion_sha256=champion.sha256 if champion else None,
        ),
    )
