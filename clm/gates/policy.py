"""The bars of the gates; every figure an operator may tune is a setting of the same name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """Thresholds; docs/reference/gates.md says why each stands where it stands."""

    max_action_share: float
    min_action_share: float
    min_confidence_std: float
    min_confidence_range: float
    """P10-P90 distance of P(WIN)."""
    collapsed_std: float
    collapsed_range: float
    logistic_margin: float
    """How much worse than logistic regression the log loss may be, in nats."""
    champion_margin: float
    """How much worse than the champion's the log loss may be, in nats, at the interval's upper end."""
    max_ece: float
    """Expected calibration error on the test rows, in probability."""
    required_symbols: tuple[str, ...]
    """Symbols without which a test part is not complete."""
    require_profit: bool
    """Whether the lower bound of the net return per trade has to be above 0."""
    allow_first_champion: bool
    """Whether a first model may go in where no champion can be scored."""
    max_file_mb: float
    """Millions of bytes of the served file."""
    max_prediction_ms: float
    """99th percentile of one prediction's time on one core."""
