"""A rejected run is asked why: what a child measured on it, what is known of what serves, and every probe."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from clm.clock import SystemClock
from clm.data.dataset import Dataset
from clm.data.findings import Finding
from clm.data.signal import SignalFloor
from clm.diagnosis import Diagnosis, Evidence, ProbePolicy, diagnose
from clm.domain.job import TrainingJob, TrainingResult
from clm.evaluation.metrics import base_log_loss
from clm.gates.verdict import GateVerdict
from clm.ports import Clock, Prober, StopSignal, Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Gathers evidence and asks PROBES; what nobody can measure is unknown and breaks nothing."""

    prober: Prober | None = None
    """None where nothing is measured in a child (CLM_DIAGNOSE_BUDGET_S=0)."""
    telemetry: Telemetry | None = None
    """None where nothing is told of what serves."""
    policy: ProbePolicy = field(default_factory=ProbePolicy)
    clock: Clock = field(default_factory=SystemClock)

    def examine(
        self,
        job: TrainingJob,
        dataset: Dataset,
        training: TrainingResult,
        verdicts: Sequence[GateVerdict],
        findings: Sequence[Finding],
        floor: SignalFloor | None,
        stop: StopSignal,
    ) -> Diagnosis:
        """Return what was found, the cause first; the job's directory still holds data and model.

        Raises:
            Interrupted: `stop` was set.
        """
        began = self.clock.monotonic()
        evidence = Evidence(
            spec=job.spec,
            findings=tuple(findings),
            floor=floor,
            training=training,
            verdicts=tuple(verdicts),
            validation_base_log_loss=base_log_loss(dataset.label_N[dataset.split.validation]),
            measured=self.prober.measure(job, stop) if self.prober else {},
            live=self.telemetry.live_predictions() if self.telemetry else None,
        )
        return diagnose(evidence, self.policy, self.clock.monotonic() - began)
