"""Evidence over past cuts of time: what a retrain at each of them would have been worth.

At a cut only the rows are known that were settled then. Each cut has a training, a validation and a test part
of its own, all of them before the cut, as the cycle at that moment would have made them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from clm.domain.sample import Floats, Ints
from clm.evaluation.bootstrap import over_cuts_interval
from clm.evaluation.evaluation import EvaluationPolicy, Interval
from clm.evaluation.evidence import Evidence
from clm.evaluation.metrics import log_loss_rows
from clm.evaluation.predictions import TestRows
from clm.evaluation.trading import net_return_rows, traded_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPlan:
    """Which cuts are made; the newest ones count back from `until`."""

    cuts: int
    """Maximum number of cuts."""
    until: datetime
    since: datetime | None = None
    """No cut is earlier; None for no such limit."""
    every_days: int | None = None
    """Days between two cuts; None for the first day of each month, 00:00 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """One cut: what was trained and judged there, or why nothing was."""

    cut: datetime
    key: str
    """Hash of data, settings and code; a result with another key is not used again."""
    refused_because: str = ""
    """Why nothing was trained; empty if a model was."""
    windows: Mapping[str, int] = field(default_factory=dict)
    """Number of windows by part."""
    evidence: Evidence | None = None
    best_epoch: int | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    """Of the training: calibration, trees, device."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverCuts:
    """Means over the cuts with their intervals; log losses in nats, differences are paired row by row."""

    candidate_minus_logistic: Interval
    candidate_minus_trees: Interval
    trees_minus_logistic: Interval
    net_return_per_trade: Interval
    """Of the candidate's actions, after costs."""


def cut_times(plan: CutPlan) -> tuple[datetime, ...]:
    """Return the moments of the cuts, oldest first."""
    moments: list[datetime] = []
    moment = plan.until if plan.every_days else _month(plan.until)
    while len(moments) < plan.cuts and (plan.since is None or moment >= plan.since):
        moments.append(moment)
        before = timedelta(days=plan.every_days or 1)
        moment = moment - before if plan.every_days else _month(moment - before)
    return tuple(reversed(moments))


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def over_cuts(evidence: Sequence[Evidence], policy: EvaluationPolicy) -> OverCuts:
    """Return the means over cuts; there must be at least one, and each must have trees."""
    rows, cut_N = _together(evidence)

    def mean(top: Callable[[Evidence], Floats], bottom: Callable[[Evidence], Floats]) -> Interval:
        tops, bottoms = ([measure(one) for one in evidence] for measure in (top, bottom))
        return over_cuts_interval(rows, cut_N, np.concatenate(tops), np.concatenate(bottoms), policy)

    def each(one: Evidence) -> Floats:
        return np.ones(len(one.rows))

    return OverCuts(
        candidate_minus_logistic=mean(lambda one: _loss(one, "candidate") - _loss(one, "logistic"), each),
        candidate_minus_trees=mean(lambda one: _loss(one, "candidate") - _loss(one, "trees"), each),
        trees_minus_logistic=mean(lambda one: _loss(one, "trees") - _loss(one, "logistic"), each),
        net_return_per_trade=mean(lambda one: _returns(one, policy), _trades),
    )


def _together(evidence: Sequence[Evidence]) -> tuple[TestRows, Ints]:
    """Return the times of all cuts' rows in one sequence, and the number of each row's cut."""
    rows = replace(
        evidence[0].rows,
        decided_at_N=np.concatenate([one.rows.decided_at_N for one in evidence]),
        resolved_at_N=np.concatenate([one.rows.resolved_at_N for one in evidence]),
        label_N=np.concatenate([one.rows.label_N for one in evidence]),
    )
    return rows, np.repeat(np.arange(len(evidence)), [len(one.rows) for one in evidence])


def _loss(evidence: Evidence, model: str) -> Floats:
    p_N = {
        "candidate": evidence.p_candidate_N,
        "logistic": evidence.p_logistic_N,
        "trees": evidence.p_trees_N,
    }[model]
    if p_N is None:
        raise ValueError(f"the evidence has no predictions of {model}")
    return log_loss_rows(evidence.rows.label_N, p_N)


def _trades(evidence: Evidence) -> Floats:
    return traded_rows(evidence.rows, evidence.p_candidate_N).astype(np.float64)


def _returns(evidence: Evidence, policy: EvaluationPolicy) -> Floats:
    net_N = net_return_rows(evidence.rows, evidence.p_candidate_N, policy)
    return np.where(traded_rows(evidence.rows, evidence.p_candidate_N), net_N, 0.0)
