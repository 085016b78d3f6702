"""Gate against the champion: the candidate must not be worse than the served model."""

from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.policy import GatePolicy
from clm.gates.sample_size import attempt_in_words, more_rows
from clm.gates.verdict import GateStatus, GateVerdict

NAME = "beats_champion"


def beats_champion(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if log loss is shown not to be worse, and net return per trade is not shown to be worse.

    Both are paired differences. A ratio to a losing champion would rate a model that loses twice as much
    as twice as good. If either model never trades, net return per trade is not compared.
    """
    loss, net = comparison.log_loss_minus_champion, comparison.net_return_minus_champion
    if comparison.champion is None or loss is None or net is None:
        return _without_champion(comparison, policy)
    both_trade = min(comparison.candidate.trading.n_trades, comparison.champion.trading.n_trades) > 0
    informs = loss.high <= policy.champion_margin
    earns = not both_trade or net.high >= 0.0
    passes = informs and earns
    shown = f"{attempt_in_words(comparison)}log loss minus champion's {_in_words(loss, 4)}"
    shown += f", net return per trade minus champion's {_in_words(net, 6)}" if both_trade else ""
    missing = (
        (informs, f"an upper bound of the log-loss difference of at most {policy.champion_margin:+g} nats"),
        (earns, "an upper bound of the net-return difference of at least 0"),
    )
    wanted = " and ".join(bar for held, bar in missing if not held)
    only_earning_fails = informs and not earns
    return GateVerdict(
        name=NAME,
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=net.high if only_earning_fails else loss.high,
        threshold=0.0 if only_earning_fails else policy.champion_margin,
        reason=f"{shown}: not worse." if passes else f"{shown}; required: {wanted}.",
        would_pass="" if passes else f"Required: {wanted}{'' if informs else _lacking(comparison, policy)}.",
        gain=0.0 - loss.value,
    )


def _lacking(comparison: Comparison, policy: GatePolicy) -> str:
    loss = comparison.log_loss_minus_champion
    if loss is None or not loss.high > loss.value:
        return ""
    reach, margin = loss.high - loss.value, policy.champion_margin
    rows = more_rows(reach=reach, distance=margin - loss.value, n_rows=comparison.candidate.n)
    return f"; for example a difference of {margin - reach:+.4f} with an equally wide interval{rows}"


def _without_champion(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    allowed = policy.allow_first_champion
    because = comparison.champion_absent_because.rstrip(".") or "no champion was scored"
    rule = "the other gates decide on a first model" if allowed else "a first model is not allowed"
    otherwise = "" if allowed else ", or CLM_GATES__ALLOW_FIRST_CHAMPION=true"
    return GateVerdict(
        name=NAME,
        status=GateStatus.DEFER if allowed else GateStatus.FAIL,
        observed=None,
        threshold=policy.champion_margin,
        reason=f"There is no champion to compare with ({because}); {rule}.",
        would_pass=f"A champion that can be scored on the same rows{otherwise}.",
    )


def _in_words(interval: Interval, digits: int) -> str:
    value = f"{interval.value:+.{digits}f}"
    if not interval.low <= interval.high:
        return f"{value}, no interval ({interval.n_blocks} blocks of time in the test rows)"
    bounds = f"{interval.low:+.{digits}f} to {interval.high:+.{digits}f}"
    return f"{value} ({in_percent(interval.confidence)} % interval {bounds})"
