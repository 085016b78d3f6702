"""How often noise passes at each level, and how often skill is seen, as the attempts on one champion go on.

    python benchmarks/judgement.py [--cases N] [--json]

Noise: labels and scores remember the hours before and know nothing of each other; the share of cases
whose lower AUROC end is above one half is held against the level asked for. Skill: calibrated scores of
a given AUROC on rows as many and as long as the test part of a 20-month store; the share that passes
`skill`, and `beats_champion` against a champion without skill.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clm.clock import HOUR
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.attempts import next_attempt
from clm.evaluation.bootstrap import (
    _reach,
    _z_of,
    auroc_replicates,
    blocks_of,
    mean_difference_interval,
)
from clm.evaluation.evaluation import EvaluationPolicy
from clm.evaluation.metrics import auroc, log_loss_rows
from clm.evaluation.predictions import TestRows

POLICY = EvaluationPolicy(
    bootstrap_replicates=1000, confidence=0.95, block_h=24.0, seed=7, fee_bps=4.0, slippage_bps=1.0
)
ATTEMPTS = (1, 2, 5, 10, 20)
LATER = (1, 10, 50, 365)
START = 1_700_000_000_000_000
MARGIN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Position of the test part in time."""

    days: int
    a_day: int
    """Decisions a day, each on three symbols."""


SHORT = Shape(days=20, a_day=8)
LONG = Shape(days=90, a_day=16)
"""4,320 rows, as the test part of a 20-month store."""


def rows_of(shape: Shape, label_N: Floats) -> TestRows:
    """Return rows that resolve after six hours."""
    n = len(label_N)
    hour_N = np.repeat(np.arange(shape.days * shape.a_day) * 24.0 / shape.a_day, 3)
    decided = START + (hour_N * HOUR).astype(np.int64)
    return TestRows(
        sample_id_N=np.arange(n),
        symbol_N=np.tile(np.arange(3), n // 3),
        symbols=("A", "B", "C"),
        decided_at_N=decided,
        resolved_at_N=decided + 6 * HOUR,
        label_N=label_N.astype(np.int8),
        market_return_N=np.zeros(n),
    )


def waves(shape: Shape, memory: float, random: np.random.Generator, common: float) -> Floats:
    """Return unit normal series of three symbols that remember the step before and share a part."""
    steps = math.sqrt(1 - memory**2) * random.standard_normal((shape.days * shape.a_day, 4))
    x = np.zeros_like(steps)
    for hour in range(1, len(steps)):
        x[hour] = memory * x[hour - 1] + steps[hour]
    own, shared = math.sqrt(1 - common), math.sqrt(common)
    return (own * x[:, :3] + shared * x[:, 3:]).ravel()


def confidence(attempt: int) -> float:
    """Return the coverage of the intervals that decide at this attempt."""
    return next_attempt(PastAttempts(since_crown=attempt - 1), POLICY.confidence).confidence


def noise(shape: Shape, cases: int) -> list[dict[str, float]]:
    """Return how often noise passes at the level of each attempt, and the level."""
    random, passed = np.random.default_rng(1), np.zeros(len(ATTEMPTS))
    drawn = replace(POLICY, bootstrap_replicates=200)
    for _ in range(cases):
        rows = rows_of(shape, waves(shape, 0.7, random, 0.5) > 0)
        p_N = 1 / (1 + np.exp(-0.5 * waves(shape, 0.8, random, 0.5)))
        passed += np.array(low_ends(rows, p_N, drawn, ATTEMPTS)) > 0.5
    return [
        {"attempt": attempt, "level": (1 - confidence(attempt)) / 2, "passed": share}
        for attempt, share in zip(ATTEMPTS, (passed / cases).tolist(), strict=True)
    ]


def low_ends(rows: TestRows, p_N: Floats, policy: EvaluationPolicy, attempts: Sequence[int]) -> list[float]:
    """Return the lower end of AUROC at each attempt; the replicates are drawn once for all of them."""
    value, n_blocks = auroc(rows.label_N, p_N), blocks_of(rows, policy).n_blocks
    below_R = value - auroc_replicates(rows, p_N, policy)
    return [value - _reach(below_R, _z_of(confidence(attempt), n_blocks)) for attempt in attempts]


def skill(strength: float, cases: int) -> dict[str, object]:
    """Return how often a model passes at each attempt; strength is the deviation of its log odds."""
    random = np.random.default_rng(2)
    passed = {attempt: [0, 0] for attempt in LATER}
    found = []
    for _ in range(cases):
        p_N = 1 / (1 + np.exp(-strength * waves(LONG, 0.8, random, 0.5)))
        # A label is drawn where a wave of outcomes is below the probability: outcomes remember, too.
        u_N = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in waves(LONG, 0.7, random, 0.3)])
        rows = rows_of(LONG, u_N < p_N)
        found.append(auroc(rows.label_N, p_N))
        difference_N = log_loss_rows(rows.label_N, p_N) - log_loss_rows(rows.label_N, np.full(len(p_N), 0.5))
        for attempt, low in zip(LATER, low_ends(rows, p_N, POLICY, LATER), strict=True):
            deciding = replace(POLICY, confidence=confidence(attempt))
            passed[attempt][0] += low > 0.5
            passed[attempt][1] += mean_difference_interval(rows, difference_N, deciding).high <= MARGIN
    return {
        "auroc": float(np.mean(found)),
        "passed": {a: {"ranking": r / cases, "beats_champion": c / cases} for a, (r, c) in passed.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="Cases of noise; a tenth of them of skill.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    began = time.monotonic()
    short = noise(SHORT, asked.cases)
    strengths = [skill(strength, max(20, asked.cases // 40)) for strength in (0.48, 0.35, 0.25)]
    if asked.json:
        print(json.dumps({"noise": short, "skill": strengths, "cases": asked.cases}))
        return
    print(f"noise over {SHORT.days} days, {asked.cases} cases")
    for row in short:
        print(f"  attempt {row['attempt']:3}  level {row['level']:.5f}  passed {row['passed']:.5f}")
    for found in strengths:
        print(f"skill, AUROC {found['auroc']:.3f} on {LONG.days * LONG.a_day * 3:,} rows of {LONG.days} days")
        for attempt, shares in found["passed"].items():
            told = f"ranking {shares['ranking']:.2f}  beats_champion {shares['beats_champion']:.2f}"
            print(f"  attempt {attempt:3}  {told}")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
