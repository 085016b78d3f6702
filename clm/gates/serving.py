"""Gates on the served file itself: does it answer as it was judged, and can it be afforded?

What they look at was found by a fresh process before anything is switched (clm/training/load_check.py).
"""

import numpy as np

from clm.domain.load_check import LoadCheck
from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict

PARITY_TOLERANCE = 1e-5
"""How far P(WIN) of a fresh process may be from the stored one; the same the export is held to."""
_MEGABYTE = 1_000_000


def parity(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass when every way of loading the file repeats the stored answers, and these vary."""
    proof = comparison.serving
    if proof is None:
        return _unproven("parity", f"Golden answers repeated by a fresh process to {PARITY_TOLERANCE:g}.")
    differences = [proof.difference(route) for route in proof.routes]
    worst = max(differences, default=float("nan")) if np.isfinite(differences).all() else float("nan")
    unlike = len(np.unique(proof.golden.p_G))
    agrees = worst <= PARITY_TOLERANCE
    passes = agrees and unlike >= 2
    bar = f"at most {PARITY_TOLERANCE:g} for each way of loading, and answers that differ"
    return GateVerdict(
        name="parity",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=worst,
        threshold=PARITY_TOLERANCE,
        reason=f"{_routes_in_words(proof)}; {unlike} different answers to {len(proof.golden)} golden rows"
        f"{'' if passes else f'; wanted {bar}'}.",
        would_pass="" if passes else f"A largest difference of {bar}.",
    )


def budget(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass when the file is small, one prediction is quick on one core, and every weight is a number."""
    proof = comparison.serving
    if proof is None:
        return _unproven("budget", "File size, prediction time and weights looked at by a fresh process.")
    small = proof.size_bytes <= policy.max_file_mb * _MEGABYTE
    quick = proof.p99_ms <= policy.max_prediction_ms
    passes = small and quick and proof.weights_finite
    shown = (
        f"The file has {proof.size_bytes / _MEGABYTE:.2f} MB, a prediction takes {proof.p50_ms:.2f} ms of "
        f"one core, 99 % of {proof.predictions} at most {proof.p99_ms:.2f} ms, "
        f"{'every weight is' if proof.weights_finite else 'not every weight is'} a finite number"
    )
    bar = f"at most {policy.max_file_mb:g} MB and {policy.max_prediction_ms:g} ms, finite weights"
    return GateVerdict(
        name="budget",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=proof.p99_ms,
        threshold=policy.max_prediction_ms,
        reason=f"{shown}: {bar}." if passes else f"{shown}; wanted {bar}.",
        would_pass="" if passes else f"It takes {bar}.",
    )


def _routes_in_words(proof: LoadCheck) -> str:
    if not proof.routes:
        return "No way of loading the file was tried"
    shown = (
        f"{route.name} cannot answer ({route.failed_because})"
        if route.p_G is None
        else f"{route.name} is {proof.difference(route):.1e} off"
        for route in proof.routes
    )
    return f"In a fresh process {', '.join(shown)}"


def _unproven(name: str, waits_for: str) -> GateVerdict:
    return GateVerdict(
        name=name,
        status=GateStatus.DEFER,
        observed=None,
        threshold=None,
        reason="No fresh process was asked to load the file.",
        would_pass=waits_for,
    )
