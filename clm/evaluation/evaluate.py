"""Measure every predictor on the same test rows, and the differences between them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from clm.data.dataset import Dataset
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Bytes8, Floats, Ints
from clm.evaluation import metrics
from clm.evaluation.attempts import next_attempt
from clm.evaluation.bootstrap import (
    auroc_interval,
    mean_difference_interval,
    per_trade_difference_interval,
    per_trade_interval,
)
from clm.evaluation.deflated_sharpe import deflated_sharpe
from clm.evaluation.evaluation import Comparison, Evaluation, EvaluationPolicy, Interval, SliceResult
from clm.evaluation.predictions import Answers, ScoredRows, TestRows
from clm.evaluation.thresholds import study_thresholds
from clm.evaluation.trading import net_return_rows, trade, traded_returns, traded_rows

MIN_SLICE_ROWS = 100
"""With fewer test rows a symbol has no AUROC interval; its rows count only in the overall figures."""


def rows_of(dataset: Dataset) -> TestRows:
    """Return the test part of a data set, in the order of its split."""
    return rows_of_part(dataset, dataset.split.test)


def rows_of_part(dataset: Dataset, part: Ints) -> TestRows:
    """Return these windows of a data set as test rows."""
    table, row_N = dataset.table, dataset.row_N[part]
    return TestRows(
        sample_id_N=table.sample_id_R[row_N],
        symbol_N=table.symbol_R[row_N],
        symbols=table.symbols,
        decided_at_N=table.decided_at_R[row_N],
        resolved_at_N=table.resolved_at_R[row_N],
        label_N=dataset.label_N[part],
        market_return_N=table.market_return_R[row_N],
    )


def evaluate_one(name: str, rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Evaluation:
    """Return every figure of one predictor; figures that the rows do not determine are NaN.

    Raises:
        ValueError: the number of predictions differs from the number of rows.
    """
    if p_win_N.shape != rows.label_N.shape:
        raise ValueError(f"{name}: {p_win_N.shape} predictions for {rows.label_N.shape} rows")
    counts = metrics.confusion(rows.label_N, p_win_N)
    return Evaluation(
        name=name,
        n=len(rows),
        accuracy=metrics.accuracy(counts),
        precision=metrics.precision(counts),
        recall=metrics.recall(counts),
        f1=metrics.f1(counts),
        auroc=metrics.auroc(rows.label_N, p_win_N),
        log_loss=metrics.log_loss(rows.label_N, p_win_N),
        brier=metrics.brier(rows.label_N, p_win_N),
        ece=metrics.ece(rows.label_N, p_win_N),
        confusion=counts,
        action_shares=metrics.action_shares(p_win_N),
        confidence=metrics.confidence_statistics(p_win_N),
        trading=trade(rows, p_win_N, policy),
        trading_by_symbol={
            symbol: trade(rows.part(mine_N), p_win_N[mine_N], policy) for symbol, mine_N in _by_symbol(rows)
        },
        auroc_by_symbol=_auroc_by_symbol(rows, p_win_N),
    )


def compare(
    rows: TestRows,
    answers: Answers,
    *,
    policy: EvaluationPolicy,
    past: PastAttempts,
    validation: ScoredRows | None = None,
) -> Comparison:
    """Measure candidate, champion and baselines on the same rows, with the paired differences.

    Thresholds and the better plain model are chosen on `validation`. The confidence of the deciding intervals
    depends on `past` attempts.
    """
    p_candidate_N, p_champion_N = answers.p_candidate_N, answers.p_champion_N
    attempt = next_attempt(past, policy.confidence)
    deciding = replace(policy, confidence=attempt.confidence)
    champion = None
    if p_champion_N is not None:
        champion = evaluate_one("champion", rows, p_champion_N, policy)
    return Comparison(
        rows=rows,
        attempt=attempt,
        p_candidate_N=p_candidate_N,
        candidate=evaluate_one("candidate", rows, p_candidate_N, policy),
        champion=champion,
        champion_absent_because=answers.champion_absent_because,
        base_rate=evaluate_one("base_rate", rows, np.full(len(rows), answers.base_rate), policy),
        logistic=evaluate_one("logistic", rows, answers.p_logistic_N, policy),
        auroc_interval=auroc_interval(rows, p_candidate_N, deciding),
        log_loss_minus_champion=_log_loss_difference(rows, p_candidate_N, p_champion_N, deciding),
        net_return_minus_champion=_net_return_difference(rows, p_candidate_N, p_champion_N, policy),
        net_return_per_trade=per_trade_interval(
            rows, net_return_rows(rows, p_candidate_N, policy), traded_rows(rows, p_candidate_N), policy
        ),
        ece_by_chance=metrics.ece_by_chance(p_candidate_N, seed=policy.seed),
        slices=_slices(rows, p_candidate_N, policy),
        thresholds=None
        if validation is None
        else study_thresholds(validation.rows, validation.p_N, rows, p_candidate_N, policy),
        deflated_sharpe=deflated_sharpe(traded_returns(rows, p_candidate_N, policy), past.sharpes),
        trees=None if answers.p_trees_N is None else evaluate_one("trees", rows, answers.p_trees_N, policy),
        better_plain=better_plain(
            answers.validation_by_plain, None if validation is None else validation.rows.label_N
        ),
    )


def better_plain(validation_by_plain: Mapping[str, Floats], label_N: Bytes8 | None) -> str:
    """Return the plain model with the lower validation log loss; logistic regression if that is unknown."""
    if label_N is None or "trees" not in validation_by_plain:
        return "logistic"
    loss = {name: metrics.log_loss(label_N, p_N) for name, p_N in validation_by_plain.items()}
    return "trees" if loss["trees"] < loss["logistic"] else "logistic"


def _by_symbol(rows: TestRows) -> Iterator[tuple[str, np.typing.NDArray[np.bool_]]]:
    for code in np.unique(rows.symbol_N):
        yield rows.symbols[code], rows.symbol_N == code


def _auroc_by_symbol(rows: TestRows, p_win_N: Floats) -> dict[str, float]:
    return {s: metrics.auroc(rows.label_N[mine_N], p_win_N[mine_N]) for s, mine_N in _by_symbol(rows)}


def _slices(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> dict[str, SliceResult]:
    """Return AUROC by symbol; more symbols make each interval wider (Bonferroni)."""
    parts = dict(_by_symbol(rows))
    judged = sum(int(mine_N.sum()) >= MIN_SLICE_ROWS for mine_N in parts.values())
    together = replace(policy, confidence=1.0 - (1.0 - policy.confidence) / max(1, judged))
    found = {}
    for symbol, mine_N in parts.items():
        mine, n = rows.part(mine_N), int(mine_N.sum())
        interval = auroc_interval(mine, p_win_N[mine_N], together)
        if n < MIN_SLICE_ROWS:
            interval = replace(interval, low=float("nan"), high=float("nan"))
        found[symbol] = SliceResult(n=n, auroc=interval)
    return found


def _log_loss_difference(
    rows: TestRows, p_candidate_N: Floats, p_champion_N: Floats | None, policy: EvaluationPolicy
) -> Interval | None:
    if p_champion_N is None:
        return None
    loss_N = metrics.log_loss_rows(rows.label_N, p_candidate_N)
    champion_loss_N = metrics.log_loss_rows(rows.label_N, p_champion_N)
    return mean_difference_interval(rows, loss_N - champion_loss_N, policy)


def _net_return_difference(
    rows: TestRows, p_candidate_N: Floats, p_champion_N: Floats | None, policy: EvaluationPolicy
) -> Interval | None:
    if p_champion_N is None:
        return None
    return per_trade_difference_interval(
        rows,
        net_return_rows(rows, p_candidate_N, policy),
        traded_rows(rows, p_candidate_N),
        net_return_rows(rows, p_champion_N, policy),
        traded_rows(rows, p_champion_N),
        policy,
    )
