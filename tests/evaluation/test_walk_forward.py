"""Cuts of time, and the means over them with their intervals."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.bootstrap import mean_difference_interval, over_cuts_interval
from clm.evaluation.evidence import Evidence, comparison_of
from clm.evaluation.predictions import TestRows
from clm.evaluation.walk_forward import CutPlan, cut_times, over_cuts
from tests.evaluation.builders import POLICY, market, rows

DECEMBER = datetime(2025, 12, 17, 15, tzinfo=UTC)


def day(month: int, number: int = 1, year: int = 2025) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


def test_cuts_are_the_first_days_of_the_newest_months() -> None:
    """The month under way has a cut at its first day."""
    assert cut_times(CutPlan(cuts=3, until=DECEMBER)) == (day(10), day(11), day(12))
    assert cut_times(CutPlan(cuts=2, until=day(1))) == (day(12, year=2024), day(1))


def test_cuts_can_be_days_apart() -> None:
    """The last one is at the end itself."""
    found = cut_times(CutPlan(cuts=3, until=DECEMBER, every_days=7))
    assert found == tuple(DECEMBER.replace(day=number) for number in (3, 10, 17))


def test_no_cut_is_before_the_first_moment() -> None:
    """It counts as a cut itself."""
    assert cut_times(CutPlan(cuts=9, until=DECEMBER, since=day(11))) == (day(11), day(12))
    assert cut_times(CutPlan(cuts=9, until=DECEMBER, since=day(12, 2))) == ()


def evidence(test_rows: TestRows, p_N: Floats, *, edge: float = 0.0) -> Evidence:
    """Return evidence of a candidate; logistic regression is less sure by `edge`, trees are a coin."""
    shrunk_N = 0.5 + (1.0 - edge) * (p_N - 0.5)
    return Evidence(
        rows=test_rows,
        p_candidate_N=p_N,
        p_champion_N=None,
        champion_absent_because="none",
        p_logistic_N=shrunk_N,
        base_rate=0.5,
        validation=None,
        policy=POLICY,
        past=PastAttempts(),
        serving=None,
        p_trees_N=np.full(len(p_N), 0.5),
    )


def later(test_rows: TestRows, hours: int) -> TestRows:
    """Return the rows at a later time."""
    shift = hours * 3_600_000_000
    return replace(
        test_rows,
        decided_at_N=test_rows.decided_at_N + shift,
        resolved_at_N=test_rows.resolved_at_N + shift,
    )


def test_a_mean_over_cuts_is_the_mean_of_their_figures() -> None:
    """Each cut counts as one, however many rows it has."""
    (small, p_small), (large, p_large) = market(200, seed=1), market(500, seed=2)
    cuts = [evidence(small, p_small, edge=0.5), evidence(later(large, 5000), p_large, edge=0.9)]
    found = over_cuts(cuts, POLICY)
    each = [comparison_of(one) for one in cuts]
    losses = [one.candidate.log_loss - one.logistic.log_loss for one in each]
    assert found.candidate_minus_logistic.value == pytest.approx(np.mean(losses))
    trees = [one.candidate.log_loss - one.trees.log_loss for one in each if one.trees]
    assert found.candidate_minus_trees.value == pytest.approx(np.mean(trees))
    assert found.trees_minus_logistic.value == pytest.approx(np.mean(losses) - np.mean(trees))
    net = [one.net_return_per_trade.value for one in each]
    assert found.net_return_per_trade.value == pytest.approx(np.mean(net))


def test_one_cut_has_the_interval_of_its_blocks() -> None:
    """There are no cuts to draw from, so only time is."""
    test_rows, p_N = market(400, seed=3)
    difference_N = np.random.default_rng(0).normal(size=len(p_N))
    one = over_cuts_interval(test_rows, np.zeros(len(p_N), np.int64), difference_N, np.ones(len(p_N)), POLICY)
    plain = mean_difference_interval(test_rows, difference_N, POLICY)
    assert (one.value, one.low, one.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert one.n_blocks == plain.n_blocks


def width(cuts: list[tuple[TestRows, Floats]]) -> float:
    """Return the width of the interval of the mean over these cuts' values."""
    together = replace(
        cuts[0][0],
        decided_at_N=np.concatenate([rows.decided_at_N for rows, _ in cuts]),
        resolved_at_N=np.concatenate([rows.resolved_at_N for rows, _ in cuts]),
        label_N=np.concatenate([rows.label_N for rows, _ in cuts]),
    )
    cut_N = np.repeat(np.arange(len(cuts)), [len(rows) for rows, _ in cuts])
    values_N = np.concatenate([values for _, values in cuts])
    found = over_cuts_interval(together, cut_N, values_N, np.ones(len(values_N)), POLICY)
    return found.high - found.low


def test_the_same_weeks_in_several_cuts_are_not_more_evidence() -> None:
    """Test parts of monthly cuts overlap: five looks at one period are not five periods."""
    values_N = np.random.default_rng(5).normal(size=1800)
    test_rows, _ = market(600, seed=4)
    same = [(test_rows, values_N)] * 5
    apart = [(later(test_rows, 700 * n), np.roll(values_N, 7 * n)) for n in range(5)]
    assert width(same) > 1.4 * width(apart)


def test_cuts_that_disagree_widen_the_interval() -> None:
    """Whether a retrain succeeds is luck too, not only the weeks that test it."""
    test_rows, _ = market(600, seed=4)
    noise_N = np.random.default_rng(5).normal(size=1800)
    alike = [(later(test_rows, 700 * n), noise_N) for n in range(6)]
    unlike = [(rows, values + (-1) ** n) for n, (rows, values) in enumerate(alike)]
    assert width(unlike) > 3 * width(alike)


def test_noise_is_found_in_few_intervals() -> None:
    """The interval of a difference that is 0 holds 0 in about 95 of 100 histories; cuts overlap by half."""
    missed = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        hour_H = np.convolve(random.normal(size=1600 + 23), np.ones(24) / 24, mode="valid")
        cuts = []
        for n in range(4):
            one = later(rows(np.ones(640)), 320 * n)
            at = slice(320 * n, 320 * n + 640)
            cuts.append((one, hour_H[at] + 0.1 * random.normal(size=640) + 0.02 * random.normal()))
        together = np.concatenate([values for _, values in cuts])
        joined = replace(
            cuts[0][0],
            decided_at_N=np.concatenate([r.decided_at_N for r, _ in cuts]),
            resolved_at_N=np.concatenate([r.resolved_at_N for r, _ in cuts]),
            label_N=np.ones(len(together), np.int8),
        )
        policy = replace(POLICY, block_h=48.0)
        found = over_cuts_interval(
            joined, np.repeat(np.arange(4), 640), together, np.ones(len(together)), policy
        )
        missed += not found.low <= 0.0 <= found.high
    assert missed <= 10


def test_a_cut_without_trades_is_left_out_of_the_net_return() -> None:
    """It would count as a return of 0, which is not what happened."""
    test_rows, p_N = market(300, seed=6)
    quiet = evidence(later(test_rows, 1000), np.full(len(p_N), 0.5))
    found = over_cuts([evidence(test_rows, p_N), quiet], POLICY)
    alone = comparison_of(evidence(test_rows, p_N)).net_return_per_trade
    assert found.net_return_per_trade.value == pytest.approx(alone.value)
    nothing = over_cuts([quiet], POLICY)
    assert np.isnan(nothing.net_return_per_trade.value)
    assert np.isnan(nothing.net_return_per_trade.low)
