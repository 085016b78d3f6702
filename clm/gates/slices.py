"""Gate on symbols: gains on some symbols must not hide harm to another."""

import math
from collections.abc import Mapping

from clm.evaluation.evaluate import MIN_SLICE_ROWS
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


def worst_slice(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if no symbol is shown to be ranked the wrong way round and no required symbol is missing."""
    judged = {s: found.auroc for s, found in comparison.slices.items() if found.n >= MIN_SLICE_ROWS}
    known = {symbol: auroc for symbol, auroc in judged.items() if auroc.low <= auroc.high}
    missing = [symbol for symbol in policy.required_symbols if symbol not in judged]
    worst = min(known, key=lambda symbol: known[symbol].high, default=None)
    high = known[worst].high if worst else math.nan
    lowest = _lowest(worst, known, len(judged))
    unknown = sorted(set(judged) - set(known))
    if missing or high < 0.5:
        status = GateStatus.FAIL
        why = f"{', '.join(missing)} must have at least {MIN_SLICE_ROWS} test rows" if missing else ""
        harmed = f"{worst} is ranked the wrong way round" if high < 0.5 else ""
        reason = f"{lowest}; {' and '.join(part for part in (why, harmed) if part)}."
    elif worst is None or unknown:
        status = GateStatus.DEFER
        reason = f"{lowest}; unknown: {', '.join(unknown)}." if unknown else f"{lowest}."
    else:
        status, reason = GateStatus.PASS, f"{lowest}: no symbol is ranked the wrong way round."
    return GateVerdict(
        name="worst_slice",
        status=status,
        observed=None if worst is None else high,
        threshold=0.5,
        reason=reason,
        would_pass="" if status is GateStatus.PASS else _wanted(policy),
    )


def _lowest(worst: str | None, known: Mapping[str, Interval], judged: int) -> str:
    """Describe the symbol with the lowest upper bound of AUROC, with its interval."""
    if worst is None:
        return f"No symbol with at least {MIN_SLICE_ROWS} test rows has an AUROC interval"
    of = known[worst]
    return (
        f"The lowest is {worst} with AUROC {of.value:.3f}, {of.confidence * 100:.4g} % interval "
        f"{of.low:.2f} to {of.high:.2f}, corrected for {judged} symbols"
    )


def _wanted(policy: GatePolicy) -> str:
    required = policy.required_symbols
    rows = f", and that many rows of {', '.join(required)}." if required else "."
    return f"An upper bound of AUROC of at least 0.5 for every symbol with {MIN_SLICE_ROWS} test rows{rows}"
