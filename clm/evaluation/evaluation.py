"""The records that measuring fills."""

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
    """Two-sided coverage of the intervals, for example 0.95; of those that decide, at the first attempt."""
    block_h: float
    """Mean length of a bootstrap block in hours; never shorter than the label horizon."""
    seed: int
    fee_bps: float
    slippage_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with its bootstrap interval; NaN where it cannot be computed."""

    value: float
    low: float
    high: float
    n_blocks: int
    """How many blocks of mean length the rows span: the independent evidence behind the bounds."""
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
    """What trading the actions would have earned, net of costs, as fractions of the stake."""

    n_trades: int
    net_return_per_trade: float
    net_return_total: float
    max_drawdown: float
    turnover_per_day: float
    """Stakes bought and sold a day, over the time from the first decision to the last exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """One symbol's rows; the interval is NaN where they are too few."""

    n: int
    auroc: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdStudy:
    """Which thresholds would have earned most on validation, and what they would have earned on test."""

    best: Thresholds
    """Chosen on validation alone; the engine's own are not touched."""
    validation_engine: TradingResult
    validation_best: TradingResult
    test_engine: TradingResult
    test_best: TradingResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Every figure of gates.md for one predictor on the test rows; names as in the field."""

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
    """Candidate, champion and baselines on the same rows, with what separates them."""

    rows: TestRows
    attempt: AttemptBudget
    """How sure the intervals that decide have to be, and why."""
    p_candidate_N: Floats
    candidate: Evaluation
    champion: Evaluation | None
    champion_absent_because: str
    base_rate: Evaluation
    """Predicts the training part's share of WIN for every row."""
    logistic: Evaluation
    """Logistic regression on the last step of each window."""
    auroc_interval: Interval
    """Candidate's AUROC, block bootstrap, at the attempt's confidence."""
    log_loss_minus_champion: Interval | None
    """Paired over the same rows, candidate - champion, at the attempt's confidence; negative is better;
    exactly 0 for the same model."""
    net_return_minus_champion: Interval | None
    """Paired difference of net return per trade; a difference, never a ratio."""
    net_return_per_trade: Interval
    """Of the candidate, after costs, block bootstrap."""
    ece_by_chance: float
    """Calibration error that a perfectly calibrated model of the same P(WIN) stays below 99 times in 100."""
    slices: Mapping[str, SliceResult]
    """The candidate's AUROC by symbol; the intervals hold together at the policy's confidence."""
    thresholds: ThresholdStudy | None
    """None where nothing was predicted for the validation part."""
    deflated_sharpe: DeflatedSharpe
    """Of the candidate's trades, with every candidate that was ever judged as a trial."""
    serving: LoadCheck | None = None
    """What a fresh process found of the candidate's file; None where none was asked."""
    shadow: ShadowRecord | None = None
    """What the candidate showed in shadow; None for a fresh one, which never served."""
