"""Gate on net return after costs: always reported, judged only if profit is required."""

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def profit(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if the net return per trade is above 0 beyond chance; defer if profit is not required."""
    net, trading = comparison.net_return_per_trade, comparison.candidate.trading
    shown = f"Net return per trade {net.value:+.6f} over {trading.n_trades} trades"
    if net.low <= net.high:
        shown += f" ({net.confidence * 100:g} % interval {net.low:+.6f} to {net.high:+.6f})"
    wanted = "A net return per trade whose interval is above 0"
    passes = net.low > 0.0
    if not policy.require_profit:
        status, reason = GateStatus.DEFER, f"{shown}: reported, not judged."
        wanted += ", with CLM_REQUIRE_PROFIT=true"
    elif passes:
        status, reason = GateStatus.PASS, f"{shown}: above 0 beyond chance."
    else:
        status, reason = GateStatus.FAIL, f"{shown}; required: a lower bound above 0."
    return GateVerdict(
        name="profit",
        status=status,
        observed=net.low,
        threshold=0.0,
        reason=reason,
        would_pass="" if status is GateStatus.PASS else f"{wanted}.",
    )
