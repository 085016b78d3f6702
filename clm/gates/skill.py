"""Gate on skill: the model must rank outcomes better than chance. Noise cannot pass it."""

from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.distribution import action_diversity, confidence_spread
from clm.gates.policy import GatePolicy
from clm.gates.sample_size import attempt_in_words, more_rows
from clm.gates.verdict import GateStatus, GateVerdict

BETTER_PLAIN_IS_BAR = False
"""Whether to keep up with the better of two plain models on validation, not with logistic regression only.

Off until the demonstration's market pays for direction: its outcomes follow the size of moves, which trees
find and the network does not.
"""
_OF = {"logistic": "logistic regression's", "trees": "the boosted trees'"}


def skill(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if AUROC is above 0.5 beyond chance and the log loss is good enough against the baselines.

    The plain model to keep up with is logistic regression; see BETTER_PLAIN_IS_BAR.
    """
    interval, loss = comparison.auroc_interval, comparison.candidate.log_loss
    bar = comparison.plain if BETTER_PLAIN_IS_BAR else comparison.logistic
    base, plain = comparison.base_rate.log_loss, bar.log_loss
    margin = policy.logistic_margin
    ranks = interval.low > 0.5
    informs = loss < base
    keeps_up = loss <= plain + margin
    passes = ranks and informs and keeps_up
    reason = (
        f"{attempt_in_words(comparison)}{auroc_in_words(interval)}, "
        f"{'is' if ranks else 'is not'} above 0.5; "
        f"log loss {loss:.4f} {'is' if informs else 'is not'} below the base rate's {base:.4f} and "
        f"{'is' if keeps_up else 'is not'} at most {margin:g} above {_OF[bar.name]} "
        f"{plain:.4f}: {'skill' if passes else 'no skill'} is shown"
        f"{'' if ranks else _bought(comparison, policy)}."
    )
    missing = (
        (ranks, _lacking_rank(comparison)),
        (informs, f"a log loss below {base:.4f}"),
        (keeps_up, f"a log loss of at most {plain + margin:.4f}"),
    )
    return GateVerdict(
        name="skill",
        status=GateStatus.PASS if passes else GateStatus.FAIL,
        observed=interval.low,
        threshold=0.5,
        reason=reason,
        would_pass="" if passes else f"Required: {' and '.join(bar for held, bar in missing if not held)}.",
    )


def _bought(comparison: Comparison, policy: GatePolicy) -> str:
    """Return a phrase if the model passes gates 1 and 2 but ranks no better than chance."""
    spread = {gate(comparison, policy).status for gate in (action_diversity, confidence_spread)}
    return "; gates 1 and 2 pass: spread bought without skill" if spread == {GateStatus.PASS} else ""


def _lacking_rank(comparison: Comparison) -> str:
    interval = comparison.auroc_interval
    bar = f"a lower bound of the AUROC interval above 0.5 (it is {interval.low:.3f})"
    reach = interval.value - interval.low
    if not reach > 0.0:
        return bar
    rows = more_rows(reach=reach, distance=interval.value - 0.5, n_rows=comparison.candidate.n)
    return f"{bar}, for example an AUROC of {0.5 + reach:.3f} with an equally wide interval{rows}"


def auroc_in_words(interval: Interval) -> str:
    """Return for example "AUROC 0.420, 95 % interval 0.37 to 0.48"."""
    if not interval.low <= interval.high:
        return (
            f"AUROC {interval.value:.3f}, no interval ({interval.n_blocks} blocks of time in the test rows)"
        )
    return (
        f"AUROC {interval.value:.3f}, {in_percent(interval.confidence)} % interval "
        f"{interval.low:.2f} to {interval.high:.2f}"
    )
