"""Predictions of a model in shadow mode, with the ensemble's actions and the outcomes.

Legend: N events of one model version, ordered by time. Times are microseconds since 1970 UTC.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clm.clock import DAY, SECOND
from clm.domain.sample import Bytes8, Floats

BUCKETS: tuple[float, ...] = (0.50, 0.60, 0.65, 0.70, 0.80)
"""Lower ends of the confidence buckets; the last one has no upper end."""
OUTCOME_WITHIN = DAY
"""A trade that closes later is not an outcome of the prediction."""
SAME_MOMENT = 60 * SECOND
"""Maximum difference between the times of one prediction in two records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One `trade.intent`: the model's prediction at a decision of the ensemble."""

    at: int
    symbol: str
    ensemble: int
    """+1 BUY, -1 SELL, 0 HOLD."""
    action: int
    """Action of the model, with the same codes."""
    confidence: float
    """As the engine reports it: p for BUY, 1 - p for SELL, 0.5 for HOLD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The movement of the market during one trade."""

    symbol: str
    opened_at: int | None
    """None if the record of the closed trade has no opening time."""
    closed_at: int
    market_return: float
    """exit / entry - 1, regardless of the side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """Every event of one version in shadow mode, as columns."""

    version: str
    at_N: np.typing.NDArray[np.int64]
    action_N: Bytes8
    ensemble_N: Bytes8
    confidence_N: Floats
    hit_N: Floats
    """1 if the market moved in the direction of the action, 0 if not, NaN for HOLD or an unknown outcome."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of messages that were read but not used, by reason."""

    def __len__(self) -> int:
        return len(self.action_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Predictions of similar confidence with a known outcome."""

    low: float
    n: int
    hits: int

    @property
    def hit_rate(self) -> float:
        """Return the share of correct directions; NaN without predictions."""
        return self.hits / self.n if self.n else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowFigures:
    """Figures for gates 3 and 4; shares are NaN without events."""

    n_events: int
    agreement: float
    """Share of events in which model and ensemble take the same action."""
    hard_disagreement: float
    """Share of events with BUY against SELL."""
    n_outcomes: int
    buckets: tuple[Bucket, ...]


def record_of(
    version: str,
    intents: Sequence[Intent],
    outcomes: Sequence[Outcome],
    left_out: Mapping[str, int] | None = None,
) -> ShadowRecord:
    """Return the predictions joined with their outcomes.

    An outcome with an opening time belongs to the prediction of its symbol at that time. An outcome without
    one belongs to the last prediction of its symbol before it closed. A prediction keeps its first outcome.
    """
    ordered = sorted(intents, key=lambda intent: (intent.at, intent.symbol))
    moved = _returns(ordered, outcomes)
    action_N = np.array([intent.action for intent in ordered], dtype=np.int8)
    return_N = np.array([moved.get(n, math.nan) for n in range(len(ordered))], dtype=np.float64)
    known_N = np.isfinite(return_N) & (action_N != 0)
    return ShadowRecord(
        version=version,
        at_N=np.array([intent.at for intent in ordered], dtype=np.int64),
        action_N=action_N,
        ensemble_N=np.array([intent.ensemble for intent in ordered], dtype=np.int8),
        confidence_N=np.array([intent.confidence for intent in ordered], dtype=np.float64),
        hit_N=np.where(known_N, (action_N * return_N > 0.0).astype(np.float64), np.nan),
        left_out=dict(left_out or {}),
    )


def measure(record: ShadowRecord) -> ShadowFigures:
    """Return the agreement, and the hits by confidence."""
    n = len(record)
    product_N = record.action_N.astype(np.int64) * record.ensemble_N
    known_N = np.isfinite(record.hit_N) & np.isfinite(record.confidence_N)
    bucket_N = np.searchsorted(BUCKETS, record.confidence_N[known_N], side="right") - 1
    hit_N = record.hit_N[known_N]
    return ShadowFigures(
        n_events=n,
        agreement=float(np.mean(record.action_N == record.ensemble_N)) if n else math.nan,
        hard_disagreement=float(np.mean(product_N < 0)) if n else math.nan,
        n_outcomes=int(known_N.sum()),
        buckets=tuple(
            Bucket(low=low, n=int(np.sum(bucket_N == b)), hits=int(hit_N[bucket_N == b].sum()))
            for b, low in enumerate(BUCKETS)
        ),
    )


def trend(buckets: Sequence[Bucket]) -> float:
    """Return the Cochran-Armitage statistic of the hit rate over the buckets; NaN if undefined.

    With equal hit rates it is approximately standard normal (Armitage 1955, Biometrics 11:3).
    """
    n_B = np.array([bucket.n for bucket in buckets], dtype=np.float64)
    hits_B, score_B = np.array([bucket.hits for bucket in buckets]), np.arange(len(buckets))
    total = float(n_B.sum())
    share = float(hits_B.sum()) / total if total else math.nan
    centred_B = score_B - (n_B * score_B).sum() / total if total else score_B
    variance = share * (1.0 - share) * float((n_B * centred_B**2).sum())
    return float((hits_B * centred_B).sum()) / math.sqrt(variance) if variance > 0.0 else math.nan


def _returns(intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> dict[int, float]:
    """Return the market return by index of the matching intent."""
    by_symbol: dict[str, list[int]] = {}
    for n, intent in enumerate(intents):
        by_symbol.setdefault(intent.symbol, []).append(n)
    moments = {symbol: [intents[n].at for n in numbers] for symbol, numbers in by_symbol.items()}
    found: dict[int, float] = {}
    for outcome in sorted(outcomes, key=lambda o: (o.opened_at is None, o.closed_at)):
        at = moments.get(outcome.symbol, [])
        place = _last_before(at, outcome) if outcome.opened_at is None else _nearest(at, outcome.opened_at)
        if place is not None and 0 < outcome.closed_at - at[place] <= OUTCOME_WITHIN:
            found.setdefault(by_symbol[outcome.symbol][place], outcome.market_return)
    return found


def _last_before(at: Sequence[int], outcome: Outcome) -> int | None:
    place = bisect_left(at, outcome.closed_at) - 1
    return place if place >= 0 else None


def _nearest(at: Sequence[int], moment: int) -> int | None:
    places = range(bisect_left(at, moment - SAME_MOMENT), bisect_right(at, moment + SAME_MOMENT))
    return min(places, key=lambda place: abs(at[place] - moment), default=None)
