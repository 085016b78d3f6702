"""Records with the results of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

from clm.domain.load_check import LoadCheck
from clm.domain.sample import Floats
from clm.evaluation.attempts import AttemptBudget
from clm.evaluation.deflated_sharpe import DeflatedSharpe
from clm.evaluation.predictions import TestRows, Thresholds
from clm.evaluation.shadow import ShadowRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPolicy:
    """How uncertainty and costs are measured."""

    bootstrap_replicates: int
    confidence: float
    """Two-sided coverage of the intervals, such as 0.95; for deciding intervals, at the first attempt."""
    block_h: float
    """Mean length of a bootstrap block in hours; never shorter than the label horizon."""
    seed: int
    fee_bps: float
    slippage_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with its bootstrap interval; NaN if it cannot be computed."""

    value: float
    low: float
    high: float
    n_blocks: int
    """Number of mean-length blocks that the rows span, which is the independent evidence."""
    confidence: float
    """Two-sided coverage of low..high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceStatistics:
    """The distribution of P(WIN)."""

    mean: float
    std: float
    min: float
    p10: float
    p50: float
    p90: float
    max: float
    p10_p90: float
    unique_values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingResult:
    """Simulated result of trading the actions, net of costs, as fractions of the stake."""

    n_trades: int
    net_return_per_trade: float
    net_return_total: float
    max_drawdown: float
    turnover_per_day: float
    """Stakes bought and sold per day, from the first decision to the last exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """One symbol's rows; the interval is NaN if they are too few."""

    n: int
    auroc: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdStudy:
    """The most profitable thresholds on validation, and their result on both parts."""

    best: Thresholds
    """Chosen on validation only; the engine's thresholds do not change."""
    validation_engine: TradingResult
    validation_best: TradingResult
    test_engine: TradingResult
    test_best: TradingResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Every figure of gates.md for one predictor on the test rows."""

    name: str
    n: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    auroc: float
    log_loss: float
    brier: float
    ece: float
    confusion: Mapping[str, int]
    """true_positive, false_positive, true_negative, false_negative at P(WIN) >= 0.5; empty if unknown."""
    action_shares: Mapping[str, float]
    """BUY, SELL, HOLD."""
    confidence: ConfidenceStatistics
    trading: TradingResult
    trading_by_symbol: Mapping[str, TradingResult]
    auroc_by_symbol: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate, champion and baselines on the same rows, with their differences."""

    rows: TestRows
    attempt: AttemptBudget
    """Number of the attempt, which sets the confidence of the deciding intervals."""
    p_candidate_N: Floats
    candidate: Evaluation
    champion: Evaluation | None
    champion_absent_because: str
    base_rate: Evaluation
    """Predicts the share of WIN in the training part for every row."""
    logistic: Evaluation
    """Logistic regression on the last step of each window."""
    auroc_interval: Interval
    """AUROC of the candidate, block bootstrap, at the attempt's confidence."""
    log_loss_minus_champion: Interval | None
    """Paired difference, candidate - champion, at the attempt's confidence. Negative is better;
    exactly 0 for the same model."""
    net_return_minus_champion: Interval | None
    """Paired difference of net return per trade, candidate - champion."""
    net_return_per_trade: Interval
    """Net return per trade of the candidate after costs, block bootstrap."""
    ece_by_chance: float
    """99 % quantile of the calibration error of a perfectly calibrated model with the same P(WIN)."""
    slices: Mapping[str, SliceResult]
    """AUROC of the candidate by symbol; the intervals hold jointly at the policy's confidence."""
    thresholds: ThresholdStudy | None
    """None without predictions for the validation part."""
    deflated_sharpe: DeflatedSharpe
    """For the candidate's trades; every candidate ever judged counts as a trial."""
    serving: LoadCheck | None = None
    """Load check of the candidate's file; None if it was not run."""
    trees: Evaluation | None = None
    """Boosted trees on the last step of each window; None in evidence of version 0.1."""
    better_plain: str = "logistic"
    """The plain model with the lower validation log loss: `logistic` or `trees`."""
    shadow: ShadowRecord | None = None
    """Record of the candidate in shadow mode; None for a new candidate, which has never served."""

    @property
    def plain(self) -> Evaluation:
        """Return the plain model that the candidate has to keep up with."""
        return self.trees if self.trees and self.better_plain == self.trees.name else self.logistic
