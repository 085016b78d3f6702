"""Gates whose evidence is not gathered yet; each says what it waits for."""

from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def parity(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Defer: no fresh process has reproduced stored predictions from the file."""
    return _deferred(
        "parity",
        reason="No fresh process has loaded the file as the engine does and repeated the predictions.",
        waits_for="64 stored predictions reproduced from raw rows to 1e-5.",
    )


def budget(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Defer: size and latency of the served file are not part of a comparison."""
    return _deferred(
        "budget",
        reason="File size and the time of one prediction are not measured here.",
        waits_for="File size and the 99th percentile of prediction time on one core.",
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
