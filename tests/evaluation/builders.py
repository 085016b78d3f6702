"""Test rows and comparisons of a small simulated market, shared with the tests of gates and report."""

from dataclasses import replace

import numpy as np

from clm.clock import HOUR
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.evaluate import compare
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.predictions import Answers, ScoredRows, TestRows

START = 1_760_000_000_000_000
SYMBOLS = ("ADAUSDT", "BTCUSDT", "SOLUSDT")

NONE_BEFORE = PastAttempts()
POLICY = EvaluationPolicy(
    bootstrap_replicates=300, confidence=0.95, block_h=24.0, seed=7, fee_bps=4.0, slippage_bps=1.0
)


def rows(
    label_N: object,
    *,
    hours_N: object | None = None,
    symbol_N: object | None = None,
    market_return_N: object | None = None,
    horizon_h: float = 6.0,
) -> TestRows:
    """Return rows one hour apart that resolve after `horizon_h`; arguments override the defaults."""
    label = np.asarray(label_N, dtype=np.int8)
    n = len(label)
    hours = np.arange(n) if hours_N is None else np.asarray(hours_N)
    decided = START + (hours * HOUR).astype(np.int64)
    market = np.where(label == 1, 0.01, -0.01) if market_return_N is None else market_return_N
    return TestRows(
        sample_id_N=np.arange(n, dtype=np.int64),
        symbol_N=np.zeros(n, dtype=np.int64) if symbol_N is None else np.asarray(symbol_N, dtype=np.int64),
        symbols=SYMBOLS,
        decided_at_N=decided,
        resolved_at_N=decided + int(horizon_h * HOUR),
        label_N=label,
        market_return_N=np.asarray(market, dtype=np.float64),
    )


def market(hours: int = 600, *, seed: int = 0) -> tuple[TestRows, Floats]:
    """Return hourly rows of three symbols, and P(WIN) of a skilful, calibrated model."""
    random = np.random.default_rng(seed)
    hours_N = np.repeat(np.arange(hours), len(SYMBOLS))
    truth_N = np.clip(0.5 + 0.16 * random.standard_normal(len(hours_N)), 0.05, 0.95)
    label_N = (random.random(len(hours_N)) < truth_N).astype(np.int8)
    symbol_N = np.tile(np.arange(len(SYMBOLS)), hours)
    return rows(label_N, hours_N=hours_N, symbol_N=symbol_N), truth_N


def comparison(
    test_rows: TestRows,
    p_candidate_N: Floats,
    *,
    p_champion_N: Floats | None = None,
    p_logistic_N: Floats | None = None,
    p_trees_N: Floats | None = None,
    base_rate: float = 0.5,
    policy: EvaluationPolicy = POLICY,
    past: PastAttempts = NONE_BEFORE,
    validation: ScoredRows | None = None,
) -> Comparison:
    """Return a comparison; by default logistic regression has no skill."""
    answers = Answers(
        p_candidate_N=p_candidate_N,
        p_champion_N=p_champion_N,
        champion_absent_because="" if p_champion_N is not None else "the environment file names no model",
        p_logistic_N=np.full(len(test_rows), 0.5) if p_logistic_N is None else p_logistic_N,
        base_rate=base_rate,
        p_trees_N=p_trees_N,
    )
    return compare(test_rows, answers, policy=policy, past=past, validation=validation)


def with_market_return(test_rows: TestRows, market_return_N: Floats) -> TestRows:
    """Return the same rows with other market returns."""
    return replace(test_rows, market_return_N=market_return_N)
