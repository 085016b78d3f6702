"""Is the candidate no worse than what serves, and does it add anything?"""

from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.policy import GatePolicy
from clm.gates.sample_size import attempt_in_words, more_rows
from clm.gates.verdict import GateStatus, GateVerdict

NAME = "beats_champion"


def beats_champion(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass when log loss is shown not to be worse and net return per trade is not shown to be worse.

    Both are paired differences: a ratio to a losing champion would call a model that loses twice as much
    twice as good. Where one of the two never trades there is no return per trade to compare.
    """
    loss, net = comparison.log_loss_minus_champion, comparison.net_return_minus_champion
    if comparison.champion is None or loss is None or net is None:
        return _without_champion(comparison, policy)
    both_trade = min(comparison.candidate.trading.n_trades, comparison.champion.trading.n_trades) > 0
    informs = loss.high <= policy.champion_margin
    earns = not both_trade or net.high >= 0.0
    passes = informs and earns
    shown = f"{attempt_in_words(comparison)}log loss - champion's {_in_words(loss, 4)}"
    shown += f", net return per trade - champion's {_in_words(net, 6)}" if both_trade else ""
    missing = (
        (informs, f"a difference of log loss with its upper end at most {policy.champion_margin:+g} nats"),
        (earns, "a difference of net return per trade with its upper end at least 0"),
    )
    wanted = " and ".join(bar for held, bar in missing if not held)
    only_earning_fails = informs and not earns
    return GateVerdict(
        name=NAME,
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=net.high if only_earning_fails else loss.high,
        threshold=0.0 if only_earning_fails else policy.champion_margin,
        reason=f"{shown}: not worse." if passes else f"{shown}; wanted {wanted}.",
        would_pass="" if passes else f"It takes {wanted}{'' if informs else _lacking(comparison, policy)}.",
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
    otherwise = "" if allowed else ", or CLM_GATES__ALLOW_FIRST_CHAMPION=true"
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
