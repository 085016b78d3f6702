"""Summarise a run in one sentence."""

from collections.abc import Sequence

from clm.diagnosis.answers import ProbeAnswer
from clm.domain.waiting import WaitsFor
from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison
from clm.gates.decision import Decision, DecisionKind
from clm.gates.verdict import GateStatus, GateVerdict
from clm.ports import PromotionOutcome, PromotionState


def summarise_undecided(status: str, error: str | None) -> str:
    """Return the status of a run without a decision, and the error that ended it."""
    return f"{status.upper()}: {error or 'no decision yet'}"


def summarise(
    *,
    decision: Decision,
    version: str | None,
    comparison: Comparison | None,
    verdicts: Sequence[GateVerdict],
    promotion: PromotionOutcome | None,
    cause: ProbeAnswer | None = None,
) -> str:
    """Return the decision, its evidence, and its effect on the engine."""
    if decision.kind in (DecisionKind.REFUSED, DecisionKind.SKIPPED):
        return f"{decision.kind.value} before training: {decision.reasons[0]}"
    head = f"{decision.kind.value} {version or 'the candidate'}"
    if comparison is not None:
        head += f": {_evidence(comparison)}"
    why = f"; cause: {cause.name.replace('_', ' ')}" if cause and decision.kind is DecisionKind.REJECT else ""
    return f"{head}, {_finding(decision, verdicts)}{why}; {_consequence(decision, comparison, promotion)}."


def _evidence(comparison: Comparison) -> str:
    interval = comparison.auroc_interval
    if not interval.low <= interval.high:
        return f"AUROC {interval.value:.3f} without an interval"
    bounds = f"{in_percent(interval.confidence)} % {interval.low:.2f}–{interval.high:.2f}"
    return f"AUROC {interval.value:.3f} ({bounds})"


def _finding(decision: Decision, verdicts: Sequence[GateVerdict]) -> str:
    match decision.kind:
        case DecisionKind.REJECT:
            failed = [verdict.name for verdict in verdicts if verdict.status is GateStatus.FAIL]
            others = ", ".join(name for name in failed if name != "skill")
            words = [_without_skill(verdicts)] if "skill" in failed else []
            return " and ".join([*words, *([f"fails {others}"] if others else [])])
        case DecisionKind.KEEP:
            return "nothing gained"
        case _:
            return "no gate fails"


def _without_skill(verdicts: Sequence[GateVerdict]) -> str:
    bought = any("spread bought without skill" in verdict.reason for verdict in verdicts)
    return "no skill (spread bought without skill)" if bought else "no skill"


def _consequence(
    decision: Decision, comparison: Comparison | None, promotion: PromotionOutcome | None
) -> str:
    if decision.kind is DecisionKind.PROMOTE and promotion is not None:
        reason = promotion.reason.rstrip(".")
        match promotion.state:
            case PromotionState.COMMITTED:
                return "the engine serves it"
            case PromotionState.WAITING:
                waiting = promotion.waiting
                thaw = waiting is not None and waiting.waits_for is WaitsFor.THAW
                return f"it waits for {'the end of the freeze' if thaw else 'a person'}: {reason}"
            case state:
                return f"the promotion ended {state.value}: {reason}"
    if comparison is not None and comparison.champion is not None:
        return "the champion stays"
    return "the engine is unchanged"
