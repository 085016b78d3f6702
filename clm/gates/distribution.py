"""Gates on the distribution of predictions. They catch a collapsed model, but noise can pass them."""

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def action_diversity(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if no action is too frequent and at least two are above the minimum share."""
    shares = comparison.candidate.action_shares
    shown = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    used = sum(share > policy.min_action_share for share in shares.values())
    spread = all(share <= policy.max_action_share for share in shares.values())
    passes = spread and used >= 2
    most, least = 100 * policy.max_action_share, 100 * policy.min_action_share
    bar = f"no action above {most:g} % and at least two above {least:g} %"
    return GateVerdict(
        name="action_diversity",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=_largest(tuple(shares.values())),
        threshold=policy.max_action_share,
        reason=f"{shown}: {bar}." if passes else f"{shown}; required: {bar}.",
        would_pass="" if passes else f"Shares of BUY, SELL and HOLD with {bar}.",
    )


def confidence_spread(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if P(WIN) varies enough; far below the bars the model is called collapsed."""
    spread = comparison.candidate.confidence
    wide = spread.p10_p90 >= policy.min_confidence_range
    passes = spread.std >= policy.min_confidence_std and wide
    shown = f"std of P(WIN) {spread.std:.4f}, P10-P90 {spread.p10_p90:.4f}"
    bar = f"std >= {policy.min_confidence_std:g} and P10-P90 >= {policy.min_confidence_range:g}"
    only_range_fails = spread.std >= policy.min_confidence_std and not wide
    return GateVerdict(
        name="confidence_spread",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=spread.p10_p90 if only_range_fails else spread.std,
        threshold=policy.min_confidence_range if only_range_fails else policy.min_confidence_std,
        reason=f"{shown}: {bar}."
        if passes
        else f"{shown}; {_shortfall(comparison, policy)}; required: {bar}.",
        would_pass="" if passes else f"A spread of {bar}.",
    )


def _shortfall(comparison: Comparison, policy: GatePolicy) -> str:
    spread = comparison.candidate.confidence
    if spread.std < policy.collapsed_std or spread.p10_p90 < policy.collapsed_range:
        return "collapsed: the model predicts nearly the same for every row"
    if spread.std >= 0.0:
        return "too narrow"
    return "P(WIN) is unknown for at least one row"


def _largest(shares: tuple[float, ...]) -> float:
    """Return the largest share, or NaN if any is NaN (max() would depend on the order)."""
    return max(shares) if all(share >= 0.0 for share in shares) else float("nan")
