"""Intervals agree with an independent bootstrap, hold on noise, and are NaN without evidence."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from clm.clock import HOUR
from clm.domain.sample import Floats
from clm.evaluation.bootstrap import (
    _samples,
    _z_of,
    auroc_interval,
    auroc_replicates,
    blocks_of,
    mean_difference_interval,
    mean_replicates,
    per_trade_difference_interval,
    per_trade_interval,
    per_trade_replicates,
)
from clm.evaluation.trading import net_return_rows, traded_rows
from tests.evaluation.builders import POLICY, market, rows

MANY = replace(POLICY, bootstrap_replicates=2000)


def waves(hours: int, memory: float, random: np.random.Generator) -> Floats:
    """Return an autocorrelated series; `memory` is the correlation with the hour before."""
    x = np.zeros(hours)
    for hour in range(1, hours):
        x[hour] = memory * x[hour - 1] + math.sqrt(1 - memory**2) * random.standard_normal()
    return x


def test_rows_of_one_label_horizon_fall_into_one_bucket_all_symbols_together() -> None:
    """Symbols move together, and overlapping trades share their outcome."""
    test_rows, _ = market(hours=60)
    blocks = blocks_of(test_rows, POLICY)
    assert blocks.n_buckets == 10
    assert np.bincount(blocks.bucket_N).tolist() == [18] * 10
    assert (blocks.mean_run, blocks.n_blocks) == (4.0, 2.5)


def test_a_block_is_never_shorter_than_the_label_horizon() -> None:
    """A cut between two overlapping trades would make both halves count as independent."""
    blocks = blocks_of(rows([1, 0] * 100, horizon_h=48.0), replace(POLICY, block_h=1.0))
    assert blocks.mean_run == 1.0
    assert blocks.n_buckets == 5


def test_a_few_long_trades_do_not_set_the_horizon() -> None:
    """A bucket is as long as 95 % of the trades."""
    test_rows = rows([1, 0] * 50)
    resolved = test_rows.resolved_at_N.copy()
    resolved[:3] += 1000 * HOUR
    assert blocks_of(replace(test_rows, resolved_at_N=resolved), POLICY).mean_run == 4.0


def test_a_gap_in_time_makes_no_empty_bucket() -> None:
    """An empty bucket would be drawn as a sample without rows."""
    hours = np.concatenate([np.arange(30), 5000 + np.arange(30)])
    assert blocks_of(rows([1, 0] * 30, hours_N=hours), POLICY).n_buckets == 11


def test_runs_of_buckets_have_the_requested_mean_length() -> None:
    """With mean length 1 the draws are independent, so counts are binomial with variance 1 - 1/K."""
    test_rows, _ = market(hours=600)
    single = next(_samples(blocks_of(test_rows, replace(MANY, block_h=6.0)), MANY, cells=100))
    assert single.sum(axis=1).tolist() == [100.0] * len(single)
    assert single.var() == pytest.approx(0.99, abs=0.02)
    long = next(_samples(blocks_of(test_rows, replace(MANY, block_h=60.0)), MANY, cells=100))
    neighbours = np.mean([np.corrcoef(sample[:-1], sample[1:])[0, 1] for sample in long])
    assert neighbours == pytest.approx(0.9, abs=0.05)


def test_replicates_of_auroc_are_those_of_rows_drawn_one_by_one() -> None:
    """The weighted formula equals scikit-learn's AUROC of the rows, repeated as often as drawn."""
    test_rows, p = market(hours=120)
    p = np.round(p, 1)
    blocks, few = blocks_of(test_rows, POLICY), replace(POLICY, bootstrap_replicates=20)
    counts = np.concatenate(list(_samples(blocks, few, cells=len(test_rows))))
    repeated = [np.repeat(np.arange(len(p)), c[blocks.bucket_N].astype(int)) for c in counts]
    expected = [roc_auc_score(test_rows.label_N[i], p[i]) for i in repeated]
    assert auroc_replicates(test_rows, p, few) == pytest.approx(expected, abs=1e-12)


def test_the_spread_of_replicates_agrees_with_an_independent_bootstrap() -> None:
    """arch draws the same buckets with its own stationary bootstrap; standard errors agree to 10 %."""
    test_rows, p = market(hours=720)
    blocks = blocks_of(test_rows, MANY)
    members = [np.flatnonzero(blocks.bucket_N == k) for k in range(blocks.n_buckets)]

    def figures(drawn: np.ndarray) -> np.ndarray:
        i = np.concatenate([members[k] for k in drawn])
        return np.array([roc_auc_score(test_rows.label_N[i], p[i]), p[i].mean()])

    theirs = StationaryBootstrap(blocks.mean_run, np.arange(blocks.n_buckets), seed=1).apply(figures, 1000)
    ours = np.stack([auroc_replicates(test_rows, p, MANY), mean_replicates(test_rows, p, MANY)], axis=1)
    assert ours.std(axis=0) == pytest.approx(theirs.std(axis=0), rel=0.10)
    assert ours.mean(axis=0) == pytest.approx(theirs.mean(axis=0), abs=0.002)


@pytest.mark.parametrize("n_blocks", [5.0, 20.0, 90.0])
def test_the_quantiles_are_moved_outward_like_a_t_interval(n_blocks: float) -> None:
    """Hesterberg 2015: Φ(-sqrt(n/(n-1)) t(α/2, n-1)), with scipy's t."""
    from scipy.stats import norm

    expected = math.sqrt(n_blocks / (n_blocks - 1)) * student.ppf(0.975, n_blocks - 1)
    assert _z_of(0.95, n_blocks) == pytest.approx(expected, rel=1e-9)
    assert norm.cdf(-expected) < 0.025


def test_a_bound_beyond_all_replicates_is_extrapolated() -> None:
    """At attempt 300 no replicate is that far out. Without extrapolation the bound would stop moving."""
    test_rows, p = market()
    value, replicates = roc_auc_score(test_rows.label_N, p), auroc_replicates(test_rows, p, POLICY)
    sure = [1 - 0.1 / (k * (k + 1)) for k in (1, 30, 300)]
    lows = [auroc_interval(test_rows, p, replace(POLICY, confidence=one)).low for one in sure]
    assert lows[0] > replicates.min() > lows[1] > lows[2]
    n_blocks = blocks_of(test_rows, POLICY).n_blocks
    reach = [(value - low) / _z_of(one, n_blocks) for low, one in zip(lows, sure, strict=True)]
    assert reach[1] == pytest.approx(reach[2], rel=1e-9)
    assert reach[0] == pytest.approx(reach[1], rel=0.25)


def test_on_noise_the_lower_bound_is_above_one_half_in_at_most_1_of_20_cases() -> None:
    """Four days of an autocorrelated market are the least evidence; plain percentiles fail this test."""
    random = np.random.default_rng(3)
    passed, cases = 0, 200
    for _ in range(cases):
        label = (waves(108, 0.7, random) > 0).repeat(3).astype(np.int8)
        p = 1 / (1 + np.exp(-waves(108, 0.7, random))).repeat(3)
        test_rows = rows(label, hours_N=np.repeat(np.arange(108), 3))
        passed += auroc_interval(test_rows, p, POLICY).low > 0.5
    assert passed <= 0.05 * cases


def test_rows_drawn_one_by_one_would_pass_noise() -> None:
    """The test above can fail: without blocks the same noise passes far more often than 1 in 20."""
    random = np.random.default_rng(3)
    passed, cases = 0, 60
    for _ in range(cases):
        label = (waves(300, 0.9, random) > 0).repeat(3).astype(np.int8)
        p = 1 / (1 + np.exp(-waves(300, 0.9, random))).repeat(3)
        apart = rows(label, horizon_h=1.0)
        passed += auroc_interval(apart, p, replace(POLICY, block_h=1.0)).low > 0.5
    assert passed > 0.15 * cases


def test_skill_is_seen() -> None:
    """The value is inside its interval, and the lower bound of a skilful model is above 0.5."""
    test_rows, p = market()
    interval = auroc_interval(test_rows, p, POLICY)
    assert 0.5 < interval.low < interval.value < interval.high < 1.0
    assert (interval.n_blocks, interval.confidence) == (25, 0.95)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    """Verdicts can be computed again to the last digit."""
    test_rows, p = market()
    first = auroc_interval(test_rows, p, POLICY)
    assert auroc_interval(test_rows, p, POLICY) == first
    assert auroc_interval(test_rows, p, replace(POLICY, seed=8)) != first


def test_wider_coverage_is_a_wider_interval() -> None:
    """The configured confidence is used."""
    test_rows, p = market()
    narrow = auroc_interval(test_rows, p, replace(POLICY, confidence=0.8))
    wide = auroc_interval(test_rows, p, replace(POLICY, confidence=0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_vectors_differ_by_exactly_zero() -> None:
    """This holds even with too few rows for an interval."""
    test_rows, _ = market()
    interval = mean_difference_interval(test_rows, np.zeros(len(test_rows)), POLICY)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)
    short = mean_difference_interval(rows([1, 0]), np.zeros(2), POLICY)
    assert (short.value, short.low, short.high) == (0.0, 0.0, 0.0)


def test_a_paired_difference_has_a_narrower_interval_than_two_single_figures() -> None:
    """The effect of the market on both models cancels row by row."""
    test_rows, _ = market()
    random = np.random.default_rng(0)
    shared = random.standard_normal(len(test_rows))
    better, worse = shared + 0.1, shared + 0.01 * random.standard_normal(len(test_rows))
    paired = mean_difference_interval(test_rows, better - worse, POLICY)
    single = mean_difference_interval(test_rows, better, POLICY)
    assert paired.high - paired.low < 0.1 * (single.high - single.low)
    assert paired.low < 0.1 < paired.high


def test_the_return_per_trade_agrees_with_an_independent_bootstrap() -> None:
    """It is a ratio of two sums that both vary. arch agrees on its spread and on that of a difference."""
    test_rows, p = market(hours=720)
    p = p.copy()
    other = np.where(np.random.default_rng(1).random(len(p)) < 0.7, p, 1 - p)
    blocks = blocks_of(test_rows, MANY)
    members = [np.flatnonzero(blocks.bucket_N == k) for k in range(blocks.n_buckets)]
    nets = [net_return_rows(test_rows, q, MANY) for q in (p, other)]
    traded = [traded_rows(test_rows, q) for q in (p, other)]

    def figures(drawn: np.ndarray) -> np.ndarray:
        i = np.concatenate([members[k] for k in drawn])
        first, second = (net[i][t[i]].mean() for net, t in zip(nets, traded, strict=True))
        return np.array([first, first - second])

    theirs = StationaryBootstrap(blocks.mean_run, np.arange(blocks.n_buckets), seed=1).apply(figures, 1000)
    ours = [per_trade_replicates(test_rows, n, t, MANY) for n, t in zip(nets, traded, strict=True)]
    assert ours[0].std() == pytest.approx(theirs[:, 0].std(), rel=0.10)
    assert (ours[0] - ours[1]).std() == pytest.approx(theirs[:, 1].std(), rel=0.10)
    single = per_trade_interval(test_rows, nets[0], traded[0], MANY)
    paired = per_trade_difference_interval(test_rows, nets[0], traded[0], nets[1], traded[1], MANY)
    assert single.value == nets[0][traded[0]].mean()
    assert paired.value == pytest.approx(nets[0][traded[0]].mean() - nets[1][traded[1]].mean())
    assert paired.low < paired.value < paired.high


def test_the_same_trades_differ_by_exactly_zero_and_without_trades_by_nan() -> None:
    """Without trades there is no return per trade, and 0 in a report would mislead readers."""
    test_rows, p = market(hours=120)
    net, traded = net_return_rows(test_rows, p, POLICY), traded_rows(test_rows, p)
    same = per_trade_difference_interval(test_rows, net, traded, net.copy(), traded.copy(), POLICY)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    never = np.zeros(len(p), dtype=bool)
    assert math.isnan(per_trade_interval(test_rows, net, never, POLICY).value)
    assert math.isnan(per_trade_difference_interval(test_rows, net, traded, net, never, POLICY).high)


@pytest.mark.parametrize("hours", [0, 1, 5, 29, 60])
def test_too_little_time_has_no_interval(hours: int) -> None:
    """With fewer than 5 buckets or 3 blocks, resampling repeats the sample and looks certain."""
    test_rows, p = market(hours=hours)
    for interval in (
        auroc_interval(test_rows, p, POLICY),
        mean_difference_interval(test_rows, p - 0.4, POLICY),
    ):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_four_buckets_have_no_interval_however_short_the_blocks() -> None:
    """Four coin tosses give the same result too often."""
    four = rows([1, 0] * 96, horizon_h=48.0)
    assert blocks_of(four, POLICY).n_buckets == 4
    assert math.isnan(auroc_interval(four, np.linspace(0.2, 0.8, 192), POLICY).low)


def test_blocks_as_long_as_the_sample_give_no_false_certainty() -> None:
    """A block as long as the sample always draws the sample itself. An interval of width 0 would pass."""
    test_rows, p = market(hours=100)
    assert math.isnan(auroc_interval(test_rows, p, replace(POLICY, block_h=1000.0)).low)


@pytest.mark.parametrize("where", [0, 300])
def test_one_unknown_row_makes_the_bounds_unknown(where: int) -> None:
    """NaN is never dropped silently from a mean."""
    test_rows, p = market()
    p[where] = math.nan
    assert math.isnan(auroc_interval(test_rows, p, POLICY).low)
    assert math.isnan(mean_difference_interval(test_rows, p, POLICY).high)


def test_a_sample_of_one_class_widens_the_interval() -> None:
    """With one LOSS row many samples have none; such a sample counts as the worst case."""
    label = np.ones(300, np.int8)
    label[150] = 0
    p = np.linspace(0.4, 0.6, 300)
    p[150] = 0.1
    interval = auroc_interval(rows(label), p, POLICY)
    assert (interval.value, interval.low, interval.high) == (1.0, 0.0, 1.0)


def test_1000_replicates_over_5000_rows_take_about_a_second() -> None:
    """A verdict must be fast; measured 0.2 s on one idle core."""
    test_rows, p = market(hours=1667)
    began = time.process_time()
    auroc_interval(test_rows, p, replace(POLICY, bootstrap_replicates=1000))
    assert time.process_time() - began < 3.0
