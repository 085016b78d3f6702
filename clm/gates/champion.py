"""Is the candidate no worse than what serves, and does it add anything?"""

from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.evidence import attempt_in_words, more_rows
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict

NAME = "beats_champion"


def beats_champion(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass when the candidate is not worse than the champion by more than the margin.

    The paired difference of log loss decides; that of net return is told. Both are differences: a
    ratio to a losing champion would call a model that loses twice as much twice as good.
    """
    loss = comparison.log_loss_minus_champion
    if comparison.champion is None or loss is None:
        return _without_champion(comparison, policy)
    passes = loss.high <= policy.champion_margin
    told = f"{attempt_in_words(comparison)}log loss - champion's {_in_words(loss, 4)}"
    told += _net_return_in_words(comparison)
    bar = f"upper end at most {policy.champion_margin:+g} nats"
    return GateVerdict(
        name=NAME,
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=loss.high,
        threshold=policy.champion_margin,
        reason=f"{told}: {bar}." if passes else f"{told}; wanted {bar}.",
        would_pass=""
        if passes
        else f"A difference of log loss whose interval has its {bar}{_lacking(comparison, policy)}.",
        gain=0.0 - loss.value,
    )


def _lacking(comparison: Comparison, policy: GatePolicy) -> str:
    loss = comparison.log_loss_minus_champion
    if loss is None or not loss.high > loss.value:
        return ""
    reach, margin = loss.high - loss.value, policy.champion_margin
    rows = more_rows(reach=reach, distance=margin - loss.value, n_rows=comparison.candidate.n)
    return f": one of {margin - reach:+.4f} with an interval as wide{rows}"


def _without_champion(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    allowed = policy.allow_first_champion
    because = comparison.champion_absent_because.rstrip(".") or "no champion was scored"
    rule = "is allowed in on the other gates" if allowed else "is not allowed in"
    otherwise = "" if allowed else ", or CLM_ALLOW_FIRST_CHAMPION=true"
    return GateVerdict(
        name=NAME,
        status=GateStatus.DEFER if allowed else GateStatus.FAIL,
        observed=None,
        threshold=policy.champion_margin,
        reason=f"There is nothing to compare with ({because}); a first model {rule}.",
        would_pass=f"A champion that can be scored on the same rows{otherwise}.",
    )


def _in_words(interval: Interval, digits: int) -> str:
    value = f"{interval.value:+.{digits}f}"
    if not interval.low <= interval.high:
        return f"{value}, no interval ({interval.n_blocks} blocks of time in the test rows)"
    bounds = f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    return f"{value} ({in_percent(interval.confidence)} % interval {bounds})"


def _net_return_in_words(comparison: Comparison) -> str:
    """Say what the trades would have earned more or less per row; told, not judged."""
    net = comparison.net_return_minus_champion
    return "" if net is None else f", net return per row - champion's {_in_words(net, 6)}"
