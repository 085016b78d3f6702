"""Gates on the served file: it reproduces the judged predictions, and it stays within its budget.

Both judge the load check, which a fresh process runs before a promotion (clm/training/load_check.py).
"""

import numpy as np

from clm.domain.load_check import LoadCheck
from clm.evaluation.evaluation import Comparison
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict

PARITY_TOLERANCE = 1e-5
"""Maximum difference between P(WIN) of a fresh process and the stored one, as for the export."""
_MEGABYTE = 1_000_000


def parity(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if every way of loading reproduces the stored answers, and these are not all equal."""
    proof = comparison.serving
    if proof is None:
        return _unproven(
            "parity", f"A fresh process that repeats the golden answers to {PARITY_TOLERANCE:g}."
        )
    differences = [proof.difference(route) for route in proof.routes]
    worst = max(differences, default=float("nan")) if np.isfinite(differences).all() else float("nan")
    distinct = len(np.unique(proof.golden.p_G))
    agrees = worst <= PARITY_TOLERANCE
    passes = agrees and distinct >= 2
    bar = f"at most {PARITY_TOLERANCE:g} for each way of loading, and at least two distinct answers"
    return GateVerdict(
        name="parity",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=worst,
        threshold=PARITY_TOLERANCE,
        reason=f"{_routes_in_words(proof)}; {distinct} distinct answers to {len(proof.golden)} golden rows"
        f"{'' if passes else f'; required: {bar}'}.",
        would_pass="" if passes else f"A largest difference of {bar}.",
    )


def budget(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if the file is small, one prediction is fast on one core, and every weight is finite."""
    proof = comparison.serving
    if proof is None:
        return _unproven("budget", "A fresh process that measures file size, prediction time and weights.")
    small = proof.size_bytes <= policy.max_file_mb * _MEGABYTE
    quick = proof.p99_ms <= policy.max_prediction_ms
    passes = small and quick and proof.weights_finite
    shown = (
        f"The file has {proof.size_bytes / _MEGABYTE:.2f} MB, a prediction takes {proof.p50_ms:.2f} ms on "
        f"one core, 99 % of {proof.predictions} take at most {proof.p99_ms:.2f} ms, "
        f"{'every weight is' if proof.weights_finite else 'not every weight is'} finite"
    )
    bar = f"at most {policy.max_file_mb:g} MB and {policy.max_prediction_ms:g} ms, finite weights"
    return GateVerdict(
        name="budget",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=proof.p99_ms,
        threshold=policy.max_prediction_ms,
        reason=f"{shown}: {bar}." if passes else f"{shown}; required: {bar}.",
        would_pass="" if passes else f"Required: {bar}.",
    )


def _routes_in_words(proof: LoadCheck) -> str:
    if not proof.routes:
        return "No way of loading the file was tried"
    shown = (
        f"{route.name} failed ({route.failed_because})"
        if route.p_G is None
        else f"{route.name} {proof.difference(route):.1e}"
        for route in proof.routes
    )
    return f"Largest difference in a fresh process: {', '.join(shown)}"


def _unproven(name: str, waits_for: str) -> GateVerdict:
    return GateVerdict(
        name=name,
        status=GateStatus.DEFER,
        observed=None,
        threshold=None,
        reason="The load check did not run.",
        would_pass=waits_for,
    )
