"""Simulated history of a store without skill: it grows by a day, and a candidate is trained, again and again.

Labels and features are autocorrelated and correlated across symbols, but independent of each other. A
least-squares fit on some of the features and a resample of the training rows replaces the training. Its
answers are stretched until they pass the gates on spread. A network trained on such a store gives the same
kind of noise, at a thousand times the cost.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.attempts import next_attempt
from clm.evaluation.bootstrap import auroc_interval
from clm.evaluation.evaluate import compare
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.metrics import log_loss
from clm.evaluation.predictions import Answers
from clm.gates.catalogue import judge
from clm.gates.decision import DecisionKind, decide
from tests.builders import gate_policy
from tests.evaluation.builders import rows

SYMBOLS, FEATURES = 3, 6
FIRST_DAYS = 40
DECISIONS_A_DAY = 8
POLICY = EvaluationPolicy(
    bootstrap_replicates=200, confidence=0.95, block_h=24.0, seed=7, fee_bps=4.0, slippage_bps=1.0
)
BETTER_WINS, EACH_AT_95, RANKING, ALL_GATES = "better wins", "each at 95 %", "ranking", "all gates"
RULES = (BETTER_WINS, EACH_AT_95, RANKING, ALL_GATES)
"""Rules: lower log loss than the champion; AUROC at a fixed level; AUROC with alpha spending; all gates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The whole history; a retrain sees only its first part."""

    x_NF: Floats
    label_N: Floats
    hour_N: Floats


def store_without_signal(days: int, random: np.random.Generator) -> Store:
    """Return hourly decisions on three symbols; features and outcomes are independent."""
    hours = DECISIONS_A_DAY * days
    market_H = _waves(hours, 0.7, random)
    label_HS = np.stack([market_H + _waves(hours, 0.7, random) > 0 for _ in range(SYMBOLS)], axis=1)
    x_HSF = np.stack(
        [
            np.stack([_waves(hours, 0.8, random) for _ in range(FEATURES)], axis=1)
            + _waves(hours, 0.8, random)[:, None]
            for _ in range(SYMBOLS)
        ],
        axis=1,
    )
    return Store(
        x_NF=x_HSF.reshape(-1, FEATURES),
        label_N=label_HS.reshape(-1).astype(np.float64),
        hour_N=np.repeat(np.arange(hours) * 24.0 / DECISIONS_A_DAY, SYMBOLS),
    )


def live(seed: int, retrains: int) -> Counter[str]:
    """Return how often each rule promotes a candidate in one history."""
    random = np.random.default_rng(seed)
    store = store_without_signal(FIRST_DAYS + retrains, random)
    champions = dict.fromkeys(RULES, fit(store, rows_of_days(FIRST_DAYS), random))
    attempts: Counter[str] = Counter()
    promoted: Counter[str] = Counter()
    for retrain in range(1, retrains + 1):
        n = rows_of_days(FIRST_DAYS + retrain)
        weights = fit(store, n, random)
        found = measure(
            store, n, weights, champions[ALL_GATES], PastAttempts(since_crown=attempts[ALL_GATES])
        )
        plain = auroc_interval(found.rows, found.p_candidate_N, POLICY)
        budget = next_attempt(PastAttempts(since_crown=attempts[RANKING]), POLICY.confidence)
        ranked = auroc_interval(
            found.rows, found.p_candidate_N, replace(POLICY, confidence=budget.confidence)
        )
        loss = found.candidate.log_loss
        serving_loss = log_loss(found.rows.label_N, predict(store, n, champions[BETTER_WINS]))
        for rule, wins in (
            (BETTER_WINS, loss < serving_loss),
            (EACH_AT_95, plain.low > 0.5),
            (RANKING, ranked.low > 0.5),
            (ALL_GATES, decide(judge(found, gate_policy())).kind is DecisionKind.PROMOTE),
        ):
            attempts[rule] = 0 if wins else attempts[rule] + 1
            promoted[rule] += wins
            if wins:
                champions[rule] = weights
    return promoted


def rows_of_days(days: int) -> int:
    """Return the number of rows in the store after this many days."""
    return days * DECISIONS_A_DAY * SYMBOLS


def fit(store: Store, n: int, random: np.random.Generator) -> Floats:
    """Return the weights of a candidate trained on the first 70 % of n rows."""
    drawn = random.integers(0, int(0.7 * n), int(0.7 * n))
    used = random.permutation(FEATURES)[:4]
    x_TF, y_T = store.x_NF[drawn][:, used], store.label_N[drawn] - store.label_N[drawn].mean()
    weights = np.zeros(FEATURES)
    weights[used] = np.linalg.lstsq(x_TF, y_T, rcond=None)[0]
    spread = (store.x_NF[: int(0.7 * n)] @ weights).std()
    return 0.5 * weights / spread


def predict(store: Store, n: int, weights: Floats) -> Floats:
    """Return P(WIN) of the newest 15 %."""
    p_N: Floats = 1 / (1 + np.exp(-store.x_NF[int(0.85 * n) : n] @ weights))
    return p_N


def measure(store: Store, n: int, weights: Floats, champion: Floats, past: PastAttempts) -> Comparison:
    """Return the comparison on the newest 15 %."""
    test = slice(int(0.85 * n), n)
    label = store.label_N[test].astype(np.int8)
    base = float(store.label_N[: int(0.7 * n)].mean())
    answers = Answers(
        p_candidate_N=predict(store, n, weights),
        p_champion_N=predict(store, n, champion),
        champion_absent_because="",
        p_logistic_N=np.full(len(label), base),
        base_rate=base,
    )
    test_rows = rows(label, hours_N=store.hour_N[test], market_return_N=np.zeros(len(label)))
    return compare(test_rows, answers, policy=POLICY, past=past)


def _waves(hours: int, memory: float, random: np.random.Generator) -> Floats:
    """Return an autocorrelated series; `memory` is the correlation with the hour before."""
    steps = np.sqrt(1 - memory**2) * random.standard_normal(hours)
    x = np.zeros(hours)
    for hour in range(1, hours):
        x[hour] = memory * x[hour - 1] + steps[hour]
    return x
