"""Gates whose evidence is not gathered yet; each says what it waits for."""

import math

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def calibration(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Defer: the error is measured, and the gate on it is not in use."""
    error = comparison.candidate.ece
    return _deferred(
        "calibration",
        reason=f"Expected calibration error {error:.3f} on the test rows: reported, not judged.",
        waits_for="The gate in use, and an error of at most 0.08.",
        observed=error,
    )


def worst_slice(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Defer: AUROC by symbol is measured, its uncertainty is not."""
    known = {s: a for s, a in comparison.candidate.auroc_by_symbol.items() if not math.isnan(a)}
    if not known:
        return _deferred(
            "worst_slice",
            reason="No symbol has test rows of both classes, and no interval by symbol is computed.",
            waits_for="An interval of AUROC for each symbol.",
        )
    worst = min(known, key=lambda symbol: known[symbol])
    return _deferred(
        "worst_slice",
        reason=f"Lowest AUROC is {known[worst]:.3f} ({worst}), without an interval: reported, not judged.",
        waits_for="An interval of AUROC for each symbol.",
        observed=known[worst],
    )


def _deferred(name: str, *, reason: str, waits_for: str, observed: float | None = None) -> GateVerdict:
    return GateVerdict(
        name=name,
        status=GateStatus.DEFER,
        observed=observed,
        threshold=None,
        reason=reason,
        would_pass=waits_for,
    )
