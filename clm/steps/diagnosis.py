"""Why a candidate was rejected: measurements of a child, the served model's predictions, and every probe."""

from collections.abc import Sequence

from clm.data.findings import Finding
from clm.data.floor import Floor
from clm.diagnosis import Diagnosis, DiagnosisInputs
from clm.diagnosis import diagnose as ask_probes
from clm.evaluation.metrics import base_log_loss
from clm.gates.verdict import GateVerdict
from clm.ports import StopSignal
from clm.steps.results import Data, Registered, Trained
from clm.steps.world import Cycle, Examiner


def diagnose(cycle: Cycle, rejected: Registered, data: Data) -> Diagnosis:
    """Return why the candidate was rejected, the cause first.

    Raises:
        Interrupted: the stop signal was set.
    """
    judged = rejected.judged
    return examine(
        cycle.world.examiner, judged.trained, judged.verdicts, data.findings, data.floor, cycle.request.stop
    )


def examine(
    examiner: Examiner,
    trained: Trained,
    verdicts: Sequence[GateVerdict],
    findings: Sequence[Finding],
    floor: Floor | None,
    stop: StopSignal,
) -> Diagnosis:
    """Return the answers of all probes, the cause first; the job's directory still holds data and model.

    Raises:
        Interrupted: `stop` was set.
    """
    began = examiner.clock.monotonic()
    dataset = trained.dataset
    evidence = DiagnosisInputs(
        spec=trained.job.spec,
        findings=tuple(findings),
        floor=floor,
        training=trained.training,
        verdicts=tuple(verdicts),
        validation_base_log_loss=base_log_loss(dataset.label_N[dataset.split.validation]),
        measured=examiner.prober.measure(trained.job, stop) if examiner.prober else {},
        live=examiner.telemetry.live_predictions() if examiner.telemetry else None,
    )
    return ask_probes(evidence, examiner.policy, examiner.clock.monotonic() - began)
