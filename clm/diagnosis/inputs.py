"""What probes look at: the facts of a rejected run, and what a child process measured on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clm.data.findings import Finding
from clm.data.floor import Floor
from clm.domain.job import TrainingResult, TrainingSpec
from clm.domain.measurement import LivePredictions, Measurement
from clm.gates.verdict import GateStatus, GateVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosisInputs:
    """All that is known of a run that was rejected."""

    spec: TrainingSpec
    findings: tuple[Finding, ...]
    """Of the audits."""
    floor: Floor | None
    training: TrainingResult
    verdicts: tuple[GateVerdict, ...]
    validation_base_log_loss: float
    """Nats that the validation part's own base rate costs there."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    live: LivePredictions | None = None

    def status(self, gate: str) -> GateStatus | None:
        """Return how a gate answered."""
        return next((verdict.status for verdict in self.verdicts if verdict.name == gate), None)

    def measurement(self, name: str) -> Measurement:
        """Return a measurement, or one that says that it was not made."""
        absent = Measurement(figures={}, cost_s=0.0, absent_because="not measured")
        return self.measured.get(name, absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePolicy:
    """Where a probe speaks; docs/explanation/diagnosis.md says why each bar is where it is."""

    max_unreproduced: float = 0.001
    """Nats between the reported validation log loss and that of the file."""
    fewest_live: int = 50
    max_same_live: float = 0.05
    """Distinct live answers, as a share of all, below which the serving input must be constant."""
    least_learnt: float = 0.5
    """Loss after learning 64 rows by heart above which a rate learns nothing; a fair share of ln 2."""
    max_dead_share: float = 0.9
    """Units of the feed-forward layers that answer to no window."""
    min_scaling_gain: float = 0.1
    """Nats that scaled features save of the loss after learning 64 rows by heart."""
    min_static_share: float = 0.01
    """Share of the inputs' variance that lies between windows; noise of 128 steps has 1 / 128."""
    min_static_kept: float = 0.01
    """Share of a change of the windows' level that is left behind a normalisation."""
    max_naive_gain: float = 0.15
    """AUROC of a shuffled split over that of a purged one."""
    flat_curve: float = 0.02
    """AUROC that four times the rows add, below which more of them say nothing."""
    no_auroc: float = 0.55
    max_p_value: float = 0.05
    rises_after_best: float = 0.02
    """Nats of validation log loss from the best epoch to the last."""
    still_falling: float = 0.01
    """Nats of validation log loss that the last epoch gained."""
