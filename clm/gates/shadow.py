"""Gates 3 and 4 judge a model's record in shadow mode. They decide on activation, not on promotion.

The bars are fixed by the operators and are not settings; docs/reference/gates.md gives their source.
"""

from dataclasses import dataclass
from itertools import pairwise

from clm.evaluation.evaluation import Comparison
from clm.evaluation.shadow import Bucket, ShadowFigures, ShadowRecord, measure, trend
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateStatus, GateVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPolicy:
    """Thresholds of the shadow stage."""

    min_events: int = 200
    min_agreement: float = 0.55
    max_agreement: float = 0.75
    borderline_agreement: float = 0.85
    """Up to this share the model may add nothing to the ensemble (DEFER); above it, the gate fails."""
    max_hard_disagreement: float = 0.25
    """Share of events with BUY against SELL; must be less."""
    min_buckets: int = 3
    min_bucket_outcomes: int = 20
    """Number of known outcomes from which a confidence bucket counts as filled."""
    min_trend: float = 1.645
    """Cochran-Armitage statistic, one-sided 5 %. By chance, three equal rates rise in order once in six."""


BARS = ShadowPolicy()


def judge_shadow(record: ShadowRecord | None, policy: ShadowPolicy = BARS) -> tuple[GateVerdict, GateVerdict]:
    """Return the verdicts `agreement` and `outcome_calibration`; both DEFER if nothing was recorded."""
    figures = None if record is None else measure(record)
    return _agreement(figures, policy), _outcome_calibration(figures, policy)


def agreement(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if the model agrees with the ensemble often enough to be sane and rarely enough to be useful."""
    return judge_shadow(comparison.shadow)[0]


def outcome_calibration(comparison: Comparison, policy: GatePolicy) -> GateVerdict:
    """Pass if more confident predictions were right more often."""
    return judge_shadow(comparison.shadow)[1]


def _agreement(figures: ShadowFigures | None, policy: ShadowPolicy) -> GateVerdict:
    bar = (
        f"agreement of {policy.min_agreement:.0%} to {policy.max_agreement:.0%} and less than "
        f"{policy.max_hard_disagreement:.0%} of BUY against SELL"
    )
    wanted = f"At least {policy.min_events} shadow events with {bar}."
    if figures is None or figures.n_events < policy.min_events:
        n = figures.n_events if figures else 0
        return GateVerdict(
            name="agreement",
            status=GateStatus.DEFER,
            observed=figures.agreement if figures else None,
            threshold=policy.min_agreement,
            reason=f"The model has {n} events in shadow mode; {policy.min_events} are needed.",
            would_pass=wanted,
        )
    status, why = _judged_agreement(figures, policy, bar)
    return GateVerdict(
        name="agreement",
        status=status,
        observed=figures.agreement,
        threshold=policy.max_agreement if figures.agreement > policy.max_agreement else policy.min_agreement,
        reason=f"The model agrees with the ensemble in {figures.agreement:.1%} of {figures.n_events} events "
        f"and opposes it (BUY against SELL) in {figures.hard_disagreement:.1%}{why}.",
        would_pass="" if status is GateStatus.PASS else wanted,
    )


def _judged_agreement(figures: ShadowFigures, policy: ShadowPolicy, bar: str) -> tuple[GateStatus, str]:
    """Return the status and the phrase that it adds to the reason."""
    mild = figures.hard_disagreement < policy.max_hard_disagreement
    if mild and policy.min_agreement <= figures.agreement <= policy.max_agreement:
        return GateStatus.PASS, ""
    if mild and policy.max_agreement < figures.agreement <= policy.borderline_agreement:
        return GateStatus.DEFER, ", which is borderline: the model may add nothing"
    return GateStatus.FAIL, f"; required: {bar}"


def _outcome_calibration(figures: ShadowFigures | None, policy: ShadowPolicy) -> GateVerdict:
    filled = tuple(b for b in figures.buckets if b.n >= policy.min_bucket_outcomes) if figures else ()
    wanted = (
        f"A hit rate that rises beyond chance from bucket to bucket, over at least {policy.min_buckets} "
        f"buckets with {policy.min_bucket_outcomes} outcomes each."
    )
    if len(filled) < policy.min_buckets:
        n = figures.n_outcomes if figures else 0
        return GateVerdict(
            name="outcome_calibration",
            status=GateStatus.DEFER,
            observed=None,
            threshold=policy.min_trend,
            reason=f"The outcomes of {n} predictions in shadow mode fill {len(filled)} confidence buckets; "
            f"{policy.min_buckets} are needed.",
            would_pass=wanted,
        )
    statistic = trend(filled)
    status, why = _judged_trend(filled, surely=statistic >= policy.min_trend)
    return GateVerdict(
        name="outcome_calibration",
        status=status,
        observed=statistic,
        threshold=policy.min_trend,
        reason=f"Hit rate by confidence {_in_words(filled)}{why} (trend {statistic:.2f}).",
        would_pass="" if status is GateStatus.PASS else wanted,
    )


def _judged_trend(filled: tuple[Bucket, ...], *, surely: bool) -> tuple[GateStatus, str]:
    """Return the status and the phrase that it adds to the reason."""
    if not all(later.hit_rate > earlier.hit_rate for earlier, later in pairwise(filled)):
        return GateStatus.FAIL, ": it does not rise with confidence"
    if surely:
        return GateStatus.PASS, ": it rises with confidence"
    return GateStatus.DEFER, ": it rises with confidence, but not beyond chance"


def _in_words(buckets: tuple[Bucket, ...]) -> str:
    return ", ".join(f"from {b.low:.2f} {b.hit_rate:.1%} of {b.n}" for b in buckets)
