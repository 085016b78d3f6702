"""Promote a candidate that passed, unless that is left to a person."""

from clm.artefacts.manifest import Artefact
from clm.ports import (
    PromotionKind,
    PromotionOutcome,
    PromotionRequest,
    PromotionState,
    held_by,
)
from clm.steps.results import Ending, Registered
from clm.steps.world import Cycle


def promote(cycle: Cycle, candidate: Registered) -> Ending:
    """Promote the candidate, unless the policy, a freeze or a broken ledger leave that to a person."""
    decision, artefact = candidate.judged.decision, candidate.artefact
    champion = candidate.judged.trained.job.champion
    request = PromotionRequest(kind=PromotionKind.CYCLE, reason=decision.reasons[0], instead_of=champion)
    return Ending(decision=decision, artefact=artefact, promotion=_promotion(cycle, artefact, request))


def _promotion(cycle: Cycle, artefact: Artefact, request: PromotionRequest) -> PromotionOutcome:
    version = artefact.manifest.version
    if not cycle.policies.promote:
        return _waits(version, "this run was asked not to promote")
    if held := held_by(cycle.world.brake.freeze(), version, request):
        return held
    if broken := cycle.run.standing.broken_because:
        why = f"the ledger is broken, attempts cannot be counted: {broken}; `clm verify-ledger` says more"
        return _waits(version, why)
    return cycle.world.promoter.promote(artefact, cycle.run.run_id, request)


def _waits(version: str, why: str) -> PromotionOutcome:
    reason = f"{why}; `clm promote {version}` brings it in"
    return PromotionOutcome(state=PromotionState.WAITING, version=version, reason=reason, changes=())
