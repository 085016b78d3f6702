"""Settings that may repair each cause; tuning varies only those."""

from collections.abc import Iterable, Mapping

from clm.diagnosis.answers import Diagnosis

REPAIRS: Mapping[str, tuple[str, ...]] = {
    "learning_rate_too_high": ("learning_rate",),
    "dead_units": ("learning_rate",),
    "features_unscaled": ("scaling",),
    "features_of_other_scale": ("scaling",),
    "spikes": ("scaling",),
    "constant_windows": ("window_source",),
    "outcome_contradicts_pnl": ("contradictions",),
    "overfits": ("dropout", "weight_decay", "label_smoothing", "learning_rate"),
    "undertrained": ("epochs", "learning_rate", "start"),
    "misses_signal": (
        "start",
        "learning_rate",
        "label_smoothing",
        "dropout",
        "weight_decay",
        "epochs",
        "spread_weight",
        "scaling",
        "window_source",
    ),
}
"""Knobs by finding: fields of TrainingSpec, or of DataPolicy if the windows are rebuilt."""

HOPELESS = ("no_skill",)
"""Findings that rule out tuning, because tuning cannot create skill that the data do not contain."""


def knobs_for(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return the knobs for the findings, those of the cause first; empty if tuning is hopeless."""
    names = [finding.name for finding in diagnosis.findings]
    if any(name in HOPELESS for name in names):
        return ()
    return _once(knob for name in names for knob in REPAIRS.get(name, ()))


def _once(knobs: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(knobs))
