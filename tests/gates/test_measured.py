"""Gates 7, 8 and 11: calibration, symbols, profit."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.bootstrap import auroc_interval
from clm.evaluation.evaluation import Comparison, Interval, SliceResult
from clm.evaluation.metrics import ece, ece_by_chance
from clm.gates.calibration import calibration
from clm.gates.profit import profit
from clm.gates.slices import worst_slice
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import POLICY, comparison, market, with_market_return

ROWS, GOOD = market()
PLAIN = comparison(ROWS, GOOD)
BARS = gate_policy()


def with_error(error: float, by_chance: float) -> Comparison:
    """Return a comparison with this calibration error and this limit by chance."""
    return replace(PLAIN, candidate=replace(PLAIN.candidate, ece=error), ece_by_chance=by_chance)


@pytest.mark.parametrize(
    ("error", "by_chance", "status"),
    [
        (0.08, 0.01, GateStatus.PASS),
        (0.0801, 0.05, GateStatus.FAIL),
        (0.0801, 0.0801, GateStatus.DEFER),
        (0.09, 0.12, GateStatus.DEFER),
        (0.13, 0.12, GateStatus.FAIL),
        (math.nan, 0.12, GateStatus.FAIL),
        (0.09, math.nan, GateStatus.FAIL),
    ],
)
def test_a_calibration_error_that_chance_does_not_explain_fails(
    error: float, by_chance: float, status: GateStatus
) -> None:
    """The threshold is 0.08. On few rows a perfect model exceeds it by chance and must not fail."""
    verdict = calibration(with_error(error, by_chance), BARS)
    assert verdict.status is status
    assert bool(verdict.would_pass) is (status is not GateStatus.PASS)


def test_99_of_100_perfectly_calibrated_models_stay_below_the_limit_by_chance() -> None:
    """Labels are drawn from P(WIN) itself, on few rows and on many."""
    random = np.random.default_rng(2)
    for n, cases in ((150, 400), (3000, 200)):
        below = 0
        for _ in range(cases):
            p = random.uniform(0.2, 0.8, n)
            label = (random.random(n) < p).astype(np.int8)
            below += ece(label, p) <= ece_by_chance(p, seed=1, draws=200)
        assert 0.96 <= below / cases < 1.0


def test_an_overconfident_model_fails() -> None:
    """It ranks as before but predicts 0.9 where 0.65 is true."""
    logit = np.log(GOOD / (1 - GOOD))
    sure = 1 / (1 + np.exp(-3.0 * logit))
    assert calibration(PLAIN, BARS).status is GateStatus.PASS
    assert calibration(comparison(ROWS, sure), BARS).status is GateStatus.FAIL


def interval(low: float, high: float) -> Interval:
    """Return an AUROC interval."""
    return Interval(value=(low + high) / 2, low=low, high=high, n_blocks=20, confidence=0.95)


def with_slices(**slices: tuple[int, float, float]) -> Comparison:
    """Return a comparison with these symbols: (rows, low, high)."""
    found = {s: SliceResult(n=n, auroc=interval(low, high)) for s, (n, low, high) in slices.items()}
    return replace(PLAIN, slices=found)


@pytest.mark.parametrize(
    ("slices", "status", "words"),
    [
        ({"A": (900, 0.55, 0.65), "B": (100, 0.30, 0.50)}, GateStatus.PASS, "no symbol is ranked"),
        ({"A": (900, 0.55, 0.65), "B": (100, 0.30, 0.499)}, GateStatus.FAIL, "B is ranked the wrong way"),
        ({"A": (900, 0.55, 0.65), "B": (99, math.nan, math.nan)}, GateStatus.PASS, "no symbol is ranked"),
        ({"A": (900, 0.55, 0.65), "B": (100, math.nan, math.nan)}, GateStatus.DEFER, "unknown: B"),
        ({"A": (99, math.nan, math.nan)}, GateStatus.DEFER, "No symbol with at least 100"),
        ({}, GateStatus.DEFER, "No symbol with at least 100"),
    ],
)
def test_no_symbol_may_be_ranked_the_wrong_way_round(
    slices: dict[str, tuple[int, float, float]], status: GateStatus, words: str
) -> None:
    """Harm to one symbol does not show in the mean over all symbols."""
    verdict = worst_slice(with_slices(**slices), BARS)
    assert verdict.status is status
    assert words in verdict.reason


def test_a_configured_symbol_that_is_missing_fails() -> None:
    """After a broken feed the test part has too few rows of that symbol to judge it."""
    bars = replace(BARS, required_symbols=("A", "B"))
    there = {"A": (900, 0.55, 0.65), "B": (100, 0.5, 0.6)}
    assert worst_slice(with_slices(**there), bars).status is GateStatus.PASS
    for gone in ({"A": (900, 0.55, 0.65)}, {"A": (900, 0.55, 0.65), "B": (99, math.nan, math.nan)}, {}):
        verdict = worst_slice(with_slices(**gone), bars)
        assert verdict.status is GateStatus.FAIL
        assert "B must have at least 100 test rows" in verdict.reason or not gone


def test_a_model_that_reverses_one_symbol_fails_although_the_mean_hides_it() -> None:
    """Two good symbols compensate for the third in the mean."""
    p = np.where(ROWS.symbol_N == 1, 1 - GOOD, GOOD)
    found = comparison(ROWS, p)
    assert found.auroc_interval.low > 0.5
    verdict = worst_slice(found, BARS)
    assert verdict.status is GateStatus.FAIL
    assert "BTCUSDT is ranked the wrong way round" in verdict.reason


def test_many_harmless_symbols_rarely_fail_by_chance() -> None:
    """With a 95 % interval for each symbol, one in three models of 16 symbols would fail by chance."""
    random, sure, harmed, alone = np.random.default_rng(0), replace(POLICY, bootstrap_replicates=1000), 0, 0
    for _ in range(5):
        test_rows, _ = market(hours=1000)
        many = replace(test_rows, symbols=tuple(f"S{n}" for n in range(16)))
        many = replace(many, symbol_N=random.integers(0, 16, len(many)))
        noise = random.permutation(GOOD[random.integers(0, len(GOOD), len(many))])
        found = comparison(many, noise, policy=sure)
        harmed += worst_slice(found, BARS).status is GateStatus.FAIL
        mine = [many.symbol_N == code for code in range(16)]
        alone += any(auroc_interval(many.part(m), noise[m], POLICY).high < 0.5 for m in mine)
    assert harmed == 0
    assert alone >= 1


@pytest.mark.parametrize(
    ("low", "required", "status"),
    [
        (0.001, True, GateStatus.PASS),
        (0.0, True, GateStatus.FAIL),
        (math.nan, True, GateStatus.FAIL),
        (0.001, False, GateStatus.DEFER),
    ],
)
def test_profit_is_always_reported_and_judged_if_required(
    low: float, required: bool, status: GateStatus
) -> None:
    """The lower bound decides, not the mean."""
    net = Interval(value=0.002, low=low, high=0.003, n_blocks=20, confidence=0.95)
    verdict = profit(replace(PLAIN, net_return_per_trade=net), replace(BARS, require_profit=required))
    assert verdict.status is status
    assert "+0.002000 over" in verdict.reason


def test_costs_decide_whether_a_model_earns() -> None:
    """The same trades are judged with and without fee and slippage."""
    bars = replace(BARS, require_profit=True)
    test_rows = with_market_return(ROWS, np.where(ROWS.label_N == 1, 0.002, -0.002))
    free = replace(POLICY, fee_bps=0.0, slippage_bps=0.0)
    assert profit(comparison(test_rows, GOOD, policy=free), bars).status is GateStatus.PASS
    dear = replace(POLICY, fee_bps=40.0)
    assert profit(comparison(test_rows, GOOD, policy=dear), bars).status is GateStatus.FAIL
