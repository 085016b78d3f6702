"""Every predictor on the same test rows, and what separates them."""

from dataclasses import replace

import numpy as np

from clm.data.dataset import Dataset
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation import metrics
from clm.evaluation.attempts import next_attempt
from clm.evaluation.bootstrap import auroc_interval, mean_difference_interval
from clm.evaluation.deflated_sharpe import deflated_sharpe
from clm.evaluation.evaluation import Comparison, Evaluation, EvaluationPolicy, Interval
from clm.evaluation.predictions import TestRows
from clm.evaluation.trading import net_return_rows, trade, traded_returns


def rows_of(dataset: Dataset) -> TestRows:
    """Return the test part of a data set, in the order of its split."""
    test, table = dataset.split.test, dataset.table
    row_N = dataset.row_N[test]
    return TestRows(
        sample_id_N=table.sample_id_R[row_N],
        symbol_N=table.symbol_R[row_N],
        symbols=table.symbols,
        decided_at_N=table.decided_at_R[row_N],
        resolved_at_N=table.resolved_at_R[row_N],
        label_N=dataset.label_N[test],
        market_return_N=table.market_return_R[row_N],
    )


def evaluate_one(name: str, rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Evaluation:
    """Measure one predictor; figures that the rows do not determine are NaN.

    Raises:
        ValueError: there is not one P(WIN) for each row.
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
        auroc_by_symbol=_auroc_by_symbol(rows, p_win_N),
    )


def compare(
    rows: TestRows,
    *,
    p_candidate_N: Floats,
    p_champion_N: Floats | None,
    champion_absent_because: str,
    p_logistic_N: Floats,
    base_rate: float,
    policy: EvaluationPolicy,
    past: PastAttempts,
) -> Comparison:
    """Measure candidate, champion and both baselines on the same rows, and the paired differences.

    `base_rate` is the training part's share of WIN. The intervals that decide are as sure as `past`
    attempts make necessary.
    """
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
        champion_absent_because=champion_absent_because,
        base_rate=evaluate_one("base_rate", rows, np.full(len(rows), base_rate), policy),
        logistic=evaluate_one("logistic", rows, p_logistic_N, policy),
        auroc_interval=auroc_interval(rows, p_candidate_N, deciding),
        log_loss_minus_champion=_log_loss_difference(rows, p_candidate_N, p_champion_N, deciding),
        net_return_minus_champion=_net_return_difference(rows, p_candidate_N, p_champion_N, policy),
        deflated_sharpe=deflated_sharpe(traded_returns(rows, p_candidate_N, policy), past.sharpes),
    )


def _auroc_by_symbol(rows: TestRows, p_win_N: Floats) -> dict[str, float]:
    found = {}
    for code in np.unique(rows.symbol_N):
        mine = rows.symbol_N == code
        found[rows.symbols[code]] = metrics.auroc(rows.label_N[mine], p_win_N[mine])
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
    """A row whose market return is unknown says nothing of either and is left out for both."""
    if p_champion_N is None:
        return None
    difference_N = net_return_rows(rows, p_candidate_N, policy) - net_return_rows(rows, p_champion_N, policy)
    known_N = np.isfinite(rows.market_return_N)
    return mean_difference_interval(_only(rows, known_N), difference_N[known_N], policy)


def _only(rows: TestRows, chosen_N: np.typing.NDArray[np.bool_]) -> TestRows:
    return replace(
        rows,
        sample_id_N=rows.sample_id_N[chosen_N],
        symbol_N=rows.symbol_N[chosen_N],
        decided_at_N=rows.decided_at_N[chosen_N],
        resolved_at_N=rows.resolved_at_N[chosen_N],
        label_N=rows.label_N[chosen_N],
        market_return_N=rows.market_return_N[chosen_N],
    )
