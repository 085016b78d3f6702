"""Block bootstrap over time: how much a figure would vary over another period of the same market.

A bucket holds the rows of one label horizon, of all symbols, because symbols move together and overlapping
trades share their outcome. The stationary bootstrap (Politis & Romano 1994) draws whole buckets, in runs of
neighbours with geometric length, `policy.block_h` on average.

Intervals are two-sided at `policy.confidence`: at 0.95 the lower bound is the 2.5 % quantile, stricter than
a one-sided 95 % bound. With few blocks, percentile intervals are too narrow: on simulated noise over four
days the lower bound was above 0.5 in 5 to 11 % of cases. So the quantiles are moved outward like those of a
t interval with as many blocks: the expanded percentile interval of Hesterberg (2015, The American
Statistician 69:4). This reduced the rate to 1 to 4 %.

Late attempts are judged far out in the tail, beyond any affordable number of replicates. A quantile with
fewer than ten replicates beyond it is extrapolated: the last readable quantile is multiplied by the ratio of
the normal quantiles. Means and AUROC over many blocks are close enough to normal for this, and the t
interval corrects for few blocks; docs/explanation/judgement.md has the measurement.

Legend: N rows, K buckets, R replicates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from clm.clock import HOUR
from clm.domain.sample import Floats, Ints
from clm.evaluation.evaluation import EvaluationPolicy, Interval
from clm.evaluation.metrics import auroc
from clm.evaluation.predictions import TestRows
from clm.evaluation.student import quantile

MIN_BUCKETS = 5
MIN_BLOCKS = 3.0
"""With fewer buckets or blocks the bounds are NaN, and NaN never passes."""

TAIL_REPLICATES = 10
"""A quantile with fewer replicates beyond it is extrapolated."""

_HORIZON_QUANTILE = 0.95
_CELLS = 1_000_000
"""Maximum of replicates x rows held in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The distribution of the rows over time."""

    bucket_N: Ints
    n_buckets: int
    mean_run: float
    """Buckets in a block of mean length; at least 1, so a block is never shorter than the horizon."""

    @property
    def n_blocks(self) -> float:
        """Return the number of mean-length blocks that the rows span, which is the independent evidence."""
        return self.n_buckets / self.mean_run

    @property
    def suffice(self) -> bool:
        """Return whether there are enough buckets and blocks to resample."""
        return self.n_buckets >= MIN_BUCKETS and self.n_blocks >= MIN_BLOCKS


def blocks_of(rows: TestRows, policy: EvaluationPolicy) -> Blocks:
    """Return the buckets of the rows, as long as 95 % of the trades, at least an hour; gaps are removed."""
    if len(rows) == 0:
        return Blocks(bucket_N=np.zeros(0, dtype=np.int64), n_buckets=0, mean_run=1.0)
    horizon = float(np.quantile(rows.resolved_at_N - rows.decided_at_N, _HORIZON_QUANTILE))
    width = max(HOUR, round(horizon))
    first = int(rows.decided_at_N.min())
    found, bucket_N = np.unique((rows.decided_at_N - first) // width, return_inverse=True)
    return Blocks(
        bucket_N=bucket_N.astype(np.int64),
        n_buckets=len(found),
        mean_run=max(1.0, policy.block_h * HOUR / width),
    )


def auroc_interval(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Interval:
    """Return AUROC with its bounds; a one-class sample counts as 0 in the lower bound, 1 in the upper."""
    value, blocks = auroc(rows.label_N, p_win_N), blocks_of(rows, policy)
    if not (np.isfinite(value) and blocks.suffice):
        return _interval(value, float("nan"), float("nan"), blocks, policy)
    replicates = auroc_replicates(rows, p_win_N, policy)
    unknown, z = np.isnan(replicates), _z_of(policy.confidence, blocks.n_blocks)
    return _interval(
        value,
        max(0.0, value - _reach(value - np.where(unknown, 0.0, replicates), z)),
        min(1.0, value + _reach(np.where(unknown, 1.0, replicates) - value, z)),
        blocks,
        policy,
    )


def mean_difference_interval(rows: TestRows, difference_N: Floats, policy: EvaluationPolicy) -> Interval:
    """Return the mean of paired differences with its bounds; exactly 0, 0, 0 if no row differs."""
    value, blocks = float(difference_N.sum()) / (len(rows) or float("nan")), blocks_of(rows, policy)
    if len(rows) and not np.any(difference_N):
        return _interval(0.0, 0.0, 0.0, blocks, policy)
    if not (np.isfinite(value) and blocks.suffice):
        return _interval(value, float("nan"), float("nan"), blocks, policy)
    return _bounded(value, mean_replicates(rows, difference_N, policy), blocks, policy)


def per_trade_interval(
    rows: TestRows, net_N: Floats, traded_N: NDArray[np.bool_], policy: EvaluationPolicy
) -> Interval:
    """Return the net return per trade with its bounds; NaN without trades."""
    blocks, n_trades = blocks_of(rows, policy), int(traded_N.sum())
    value = float(net_N[traded_N].sum()) / n_trades if n_trades else float("nan")
    if not (np.isfinite(value) and blocks.suffice):
        return _interval(value, float("nan"), float("nan"), blocks, policy)
    replicates = per_trade_replicates(rows, net_N, traded_N, policy)
    return _bounded(value, replicates, blocks, policy)


def per_trade_difference_interval(
    rows: TestRows,
    net_N: Floats,
    traded_N: NDArray[np.bool_],
    other_net_N: Floats,
    other_traded_N: NDArray[np.bool_],
    policy: EvaluationPolicy,
) -> Interval:
    """Return the difference of net return per trade, over the same sampled blocks; NaN without trades.

    Exactly 0, 0, 0 if both make the same trades.
    """
    blocks, n, other_n = blocks_of(rows, policy), int(traded_N.sum()), int(other_traded_N.sum())
    alike = np.array_equal(traded_N, other_traded_N)
    if n and alike and np.array_equal(net_N[traded_N], other_net_N[traded_N]):
        return _interval(0.0, 0.0, 0.0, blocks, policy)
    value = float("nan")
    if n and other_n:
        value = float(net_N[traded_N].sum()) / n - float(other_net_N[other_traded_N].sum()) / other_n
    if not (np.isfinite(value) and blocks.suffice):
        return _interval(value, float("nan"), float("nan"), blocks, policy)
    # The same seed draws the same blocks for both, so the effect of the market cancels.
    replicates = per_trade_replicates(rows, net_N, traded_N, policy)
    replicates = replicates - per_trade_replicates(rows, other_net_N, other_traded_N, policy)
    return _bounded(value, replicates, blocks, policy)


def per_trade_replicates(
    rows: TestRows, net_N: Floats, traded_N: NDArray[np.bool_], policy: EvaluationPolicy
) -> Floats:
    """Return the net return per trade of each bootstrap sample; 0 for a sample without trades."""
    blocks = blocks_of(rows, policy)
    total_K = np.bincount(blocks.bucket_N, weights=np.where(traded_N, net_N, 0.0))
    trades_K = np.bincount(blocks.bucket_N, weights=traded_N.astype(np.float64))
    found = []
    for count_RK in _samples(blocks, policy, cells=blocks.n_buckets):
        trades_R, total_R = count_RK @ trades_K, count_RK @ total_K
        found.append(np.divide(total_R, trades_R, out=np.zeros(len(total_R)), where=trades_R > 0))
    return np.concatenate(found)


def auroc_replicates(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Floats:
    """Return AUROC of each bootstrap sample, NaN for a one-class sample.

    Scores are sorted once, so a sample is only a weight per row. There must be at least one row.
    """
    blocks = blocks_of(rows, policy)
    order_N = np.argsort(p_win_N, kind="stable")
    sorted_N, is_win_N = p_win_N[order_N], (rows.label_N[order_N] == 1).astype(np.float64)
    bucket_N = blocks.bucket_N[order_N]
    ties = np.flatnonzero(np.concatenate(([True], sorted_N[1:] != sorted_N[:-1])))
    found = []
    for count_RK in _samples(blocks, policy, cells=len(rows)):
        weight_RN = count_RK[:, bucket_N]
        win_RN = np.add.reduceat(weight_RN * is_win_N, ties, axis=1)
        loss_RN = np.add.reduceat(weight_RN, ties, axis=1) - win_RN
        beaten_RN = np.cumsum(loss_RN, axis=1) - 0.5 * loss_RN
        won_R = np.einsum("rn,rn->r", win_RN, beaten_RN)
        pairs_R = win_RN.sum(axis=1) * loss_RN.sum(axis=1)
        found.append(np.divide(won_R, pairs_R, out=np.full(len(won_R), np.nan), where=pairs_R > 0))
    return np.concatenate(found)


def mean_replicates(rows: TestRows, values_N: Floats, policy: EvaluationPolicy) -> Floats:
    """Return the mean over the rows of each bootstrap sample. There must be at least one row."""
    blocks = blocks_of(rows, policy)
    total_K = np.bincount(blocks.bucket_N, weights=values_N)
    size_K = np.bincount(blocks.bucket_N).astype(np.float64)
    samples = _samples(blocks, policy, cells=blocks.n_buckets)
    return np.concatenate([(count_RK @ total_K) / (count_RK @ size_K) for count_RK in samples])


def over_cuts_interval(
    rows: TestRows, cut_N: Ints, top_N: Floats, bottom_N: Floats, policy: EvaluationPolicy
) -> Interval:
    """Return the mean over cuts of a ratio of sums, with its bounds; `rows` are those of all cuts.

    Each replicate draws cuts with replacement, and for all cuts together the same blocks of calendar time
    (Owen 2007, The Annals of Applied Statistics 1:2). Test parts of neighbouring cuts overlap, so a week
    that went well counts in all cuts that test it. The t correction uses the number of cuts or of blocks,
    the smaller one. A cut with nothing in the denominator is left out.
    """
    blocks = blocks_of(rows, policy)
    n_cuts, n = int(cut_N.max(initial=-1)) + 1, blocks.n_buckets
    cell_N = cut_N * n + blocks.bucket_N
    top_CK, bottom_CK = (
        np.bincount(cell_N, weights=part_N, minlength=n_cuts * n).reshape(n_cuts, n)
        for part_N in (top_N, bottom_N)
    )
    there_C = bottom_CK.sum(axis=1) > 0
    top_CK, bottom_CK, n_cuts = top_CK[there_C], bottom_CK[there_C], int(there_C.sum())
    value = float(np.mean(top_CK.sum(axis=1) / bottom_CK.sum(axis=1))) if n_cuts else float("nan")
    if not (np.isfinite(value) and blocks.suffice):
        return _interval(value, float("nan"), float("nan"), blocks, policy)
    evidence = min(blocks.n_blocks, float(n_cuts)) if n_cuts > 1 else blocks.n_blocks
    return _bounded(value, _over_cuts(top_CK, bottom_CK, blocks, policy), blocks, policy, evidence=evidence)


def _over_cuts(top_CK: Floats, bottom_CK: Floats, blocks: Blocks, policy: EvaluationPolicy) -> Floats:
    """Return the mean ratio of each bootstrap sample of cuts and blocks; 0 for a sample without any."""
    n_cuts, random, found = len(top_CK), np.random.default_rng(policy.seed + 1), []
    for count_RK in _samples(blocks, policy, cells=blocks.n_buckets):
        top_RC, bottom_RC = count_RK @ top_CK.T, count_RK @ bottom_CK.T
        there_RC = bottom_RC > 0
        ratio_RC = np.divide(top_RC, bottom_RC, out=np.zeros_like(top_RC), where=there_RC)
        weight_RC = there_RC * random.multinomial(n_cuts, np.full(n_cuts, 1.0 / n_cuts), size=len(count_RK))
        sum_R, cuts_R = (weight_RC * ratio_RC).sum(axis=1), weight_RC.sum(axis=1)
        found.append(np.divide(sum_R, cuts_R, out=np.zeros(len(sum_R)), where=cuts_R > 0))
    return np.concatenate(found)


def _samples(blocks: Blocks, policy: EvaluationPolicy, *, cells: int) -> Iterator[Floats]:
    """Yield the count of each bucket in each sample, in batches that fit into memory."""
    random = np.random.default_rng(policy.seed)
    n, place_K = blocks.n_buckets, np.arange(blocks.n_buckets)
    at_once = max(1, _CELLS // max(cells, n))
    for done in range(0, policy.bootstrap_replicates, at_once):
        r = min(at_once, policy.bootstrap_replicates - done)
        # A run ends with probability 1 / mean length, which makes its length geometric.
        starts_RK = random.random((r, n)) < 1.0 / blocks.mean_run
        start_RK = random.integers(0, n, (r, n))
        begun_RK = np.maximum.accumulate(np.where(starts_RK, place_K, 0), axis=1)
        drawn_RK = (np.take_along_axis(start_RK, begun_RK, axis=1) + place_K - begun_RK) % n
        cell_RK = drawn_RK + n * np.arange(r)[:, None]
        yield np.bincount(cell_RK.ravel(), minlength=r * n).reshape(r, n).astype(np.float64)


def _bounded(
    value: float,
    replicates: Floats,
    blocks: Blocks,
    policy: EvaluationPolicy,
    *,
    evidence: float | None = None,
) -> Interval:
    """Return the interval of replicates; `evidence` replaces the number of blocks in the t correction."""
    z = _z_of(policy.confidence, blocks.n_blocks if evidence is None else evidence)
    low, high = value - _reach(value - replicates, z), value + _reach(replicates - value, z)
    return _interval(value, low, high, blocks, policy)


def _z_of(confidence: float, n_blocks: float) -> float:
    """Return the distance of the bounds in standard errors, as for a t interval of `n_blocks`."""
    freedom = n_blocks - 1.0
    return sqrt(n_blocks / freedom) * quantile((1.0 - confidence) / 2.0, freedom)


def _reach(beyond_R: Floats, z: float) -> float:
    """Return the distance exceeded with the probability that a normal variable exceeds `z`; at least 0."""
    normal = NormalDist()
    resolved = -normal.inv_cdf(min(0.5, TAIL_REPLICATES / len(beyond_R)))
    reach = float(np.quantile(beyond_R, normal.cdf(min(z, resolved))))
    return max(0.0, reach if z <= resolved else reach * z / resolved)


def _interval(value: float, low: float, high: float, blocks: Blocks, policy: EvaluationPolicy) -> Interval:
    return Interval(
        value=value,
        low=low,
        high=high,
        n_blocks=int(blocks.n_blocks),
        confidence=policy.confidence,
    )
