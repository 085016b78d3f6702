"""Inputs of the probes: the facts of a rejected run, and the measurements of a child process."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clm.data.findings import Finding
from clm.data.floor import Floor
from clm.domain.job import TrainingResult, TrainingSpec
from clm.domain.measurement import LivePredictions, Measurement
from clm.gates.verdict import GateStatus, GateVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisInputs:
    """All known facts of a rejected run."""

    spec: TrainingSpec
    findings: tuple[Finding, ...]
    """Findings of the audits."""
    floor: Floor | None
    training: TrainingResult
    verdicts: tuple[GateVerdict, ...]
    validation_base_log_loss: float
    """Log loss of the validation part's own base rate, in nats."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    live: LivePredictions | None = None

    def status(self, gate: str) -> GateStatus | None:
        """Return the status of a gate, or None if it did not judge."""
        return next((verdict.status for verdict in self.verdicts if verdict.name == gate), None)

    def measurement(self, name: str) -> Measurement:
        """Return a measurement; a missing one has `absent_because` set."""
        absent = Measurement(figures={}, cost_s=0.0, absent_because="not measured")
        return self.measured.get(name, absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePolicy:
    """Thresholds of the probes; docs/explanation/diagnosis.md explains them."""

    max_unreproduced: float = 0.001
    """Maximum difference between reported validation log loss and that of the file, in nats."""
    min_live: int = 50
    """Minimum number of live answers."""
    max_same_live: float = 0.05
    """Share of distinct live answers up to which the serving input counts as constant."""
    max_memorised_loss: float = 0.5
    """Loss after memorising 64 rows, as a share of ln 2, above which a learning rate learns nothing."""
    max_dead_share: float = 0.9
    """Share of feed-forward units that respond to no window."""
    min_scaling_gain: float = 0.1
    """Gain of scaled features in the loss after memorising 64 rows, in nats."""
    min_static_share: float = 0.01
    """Share of the inputs' variance between windows; noise of 128 steps has 1 / 128."""
    min_static_kept: float = 0.01
    """Share of a change of the windows' level that is left after a normalisation."""
    max_naive_gain: float = 0.15
    """AUROC of a shuffled split minus that of a purged split."""
    flat_curve: float = 0.02
    """Gain in AUROC from four times the rows, below which more rows do not help."""
    no_auroc: float = 0.55
    max_p_value: float = 0.05
    rises_after_best: float = 0.02
    """Rise of validation log loss from the best to the last epoch, in nats."""
    still_falling: float = 0.01
    """Fall of validation log loss in the last epoch, in nats."""
