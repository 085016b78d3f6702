"""Measurements on a rejected run, and live predictions of the served model."""

from collections.abc import Mapping
from dataclasses import dataclass

from clm.domain.figure import Figure

MEASURED = ("saved_file", "activations", "overfit", "time", "learning_curve", "scaling")
"""Names of the measurements that the child makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Figures of one measurement of the trained model or its data, by name."""

    figures: Mapping[str, Figure]
    cost_s: float
    absent_because: str = ""
    """Why there are no figures; empty if there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePredictions:
    """Recent predictions of the served model from the telemetry, newest first."""

    answers: tuple[float, ...]
    """Confidences of BUY and SELL; the telemetry has no confidence for HOLD."""
    absent_because: str = ""
