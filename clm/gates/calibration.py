"""Gate on calibration: the engine's thresholds need P(WIN) to be a probability."""

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def calibration(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if the calibration error is small; defer if the rows are too few to exclude chance."""
    error, by_chance = comparison.candidate.ece, comparison.ece_by_chance
    shown = f"Expected calibration error {error:.3f} on {comparison.candidate.n} test rows"
    bar = f"at most {policy.max_ece:g}"
    if error <= policy.max_ece:
        status, reason = GateStatus.PASS, f"{shown}: {bar}."
    elif error <= by_chance:
        status = GateStatus.DEFER
        explanation = f"with so few rows a perfectly calibrated model shows up to {by_chance:.3f}"
        reason = f"{shown}; {explanation}, so the gate cannot decide."
    else:
        status, reason = (
            GateStatus.FAIL,
            f"{shown}; required: {bar}; chance alone explains at most {by_chance:.3f}.",
        )
    return GateVerdict(
        name="calibration",
        status=status,
        observed=error,
        threshold=policy.max_ece,
        reason=reason,
        would_pass="" if status is GateStatus.PASS else f"An expected calibration error of {bar}.",
    )
