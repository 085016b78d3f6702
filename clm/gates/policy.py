"""Thresholds of the gates. Each one is a setting of the same name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """Thresholds; docs/reference/gates.md explains each value."""

    max_action_share: float
    min_action_share: float
    min_confidence_std: float
    min_confidence_range: float
    """P10-P90 distance of P(WIN)."""
    collapsed_std: float
    collapsed_range: float
    logistic_margin: float
    """Maximum excess of the log loss over logistic regression's, in nats."""
    champion_margin: float
    """Maximum excess of the log loss over the champion's, in nats, at the interval's upper bound."""
    max_ece: float
    """Expected calibration error on the test rows, in probability."""
    required_symbols: tuple[str, ...]
    """Symbols that the test part must contain."""
    require_profit: bool
    """Whether the lower bound of the net return per trade must be above 0."""
    allow_first_champion: bool
    """Whether a first model may be promoted if no champion can be scored."""
    max_file_mb: float
    """Maximum size of the served file, in millions of bytes."""
    max_prediction_ms: float
    """Maximum 99th percentile of the time of one prediction on one core, in milliseconds."""
