"""Does P(WIN) mean what it says? The engine's thresholds mean nothing otherwise."""

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def calibration(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass when the calibration error is small; defer if the rows are too few to exclude chance."""
    error, luck = comparison.candidate.ece, comparison.ece_by_chance
    shown = f"Expected calibration error {error:.3f} on {comparison.candidate.n} test rows"
    bar = f"at most {policy.max_ece:g}"
    if error <= policy.max_ece:
        status, reason = GateStatus.PASS, f"{shown}: {bar}."
    elif error <= luck:
        status = GateStatus.DEFER
        luckily = f"on so few a perfectly calibrated model shows up to {luck:.3f}"
        reason = f"{shown}; {luckily}, so it cannot be told."
    else:
        status, reason = (
            GateStatus.FAIL,
            f"{shown}; wanted {bar}, and by luck it would be at most {luck:.3f}.",
        )
    return GateVerdict(
        name="calibration",
        status=status,
        observed=error,
        threshold=policy.max_ece,
        reason=reason,
        would_pass="" if status is GateStatus.PASS else f"An expected calibration error of {bar}.",
    )
