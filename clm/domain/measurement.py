"""What is measured on a rejected run, and what is reported about the model that serves."""

from collections.abc import Mapping
from dataclasses import dataclass

from clm.domain.figure import Figure

MEASURED = ("saved_file", "activations", "overfit", "time", "learning_curve", "scaling")
"""What the child measures, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Figures that one look at the trained model or its data gave, by name."""

    figures: Mapping[str, Figure]
    cost_s: float
    absent_because: str = ""
    """Why there are none; empty where there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePredictions:
    """What the served model said lately to the trading system, newest first."""

    answers: tuple[float, ...]
    """Confidences of BUY and SELL; the telemetry has none for HOLD."""
    absent_because: str = ""
