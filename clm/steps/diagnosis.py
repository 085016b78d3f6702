"""Why a candidate was rejected: measurements of a child, the served model's predictions, and every probe."""

from collections.abc import Mapping
from functools import partial

from clm.diagnosis import Diagnosis, DiagnosisInputs
from clm.diagnosis import diagnose as ask_probes
from clm.domain.job import TrainingJob
from clm.domain.measurement import MEASURED, Measurement
from clm.evaluation.metrics import base_log_loss
from clm.ports import Asker, StopSignal
from clm.questions.measure import Measurements, measure_question
from clm.steps.asking import as_far_as_it_came
from clm.steps.results import Data, Registered
from clm.steps.world import Cycle


def diagnose(cycle: Cycle, rejected: Registered, data: Data) -> Diagnosis:
    """Return why the candidate was rejected, the cause first.

    Raises:
        Interrupted: the stop signal was set.
    """
    world, policy, judged = cycle.world, cycle.policies.diagnosis, rejected.judged
    trained, dataset = judged.trained, judged.trained.dataset
    began = world.clock.monotonic()
    inputs = DiagnosisInputs(
        spec=trained.job.spec,
        findings=tuple(data.findings),
        floor=data.floor,
        training=trained.training,
        verdicts=tuple(judged.verdicts),
        validation_base_log_loss=base_log_loss(dataset.label_N[dataset.split.validation]),
        measured=measured(world.asker, trained.job, policy.budget_s, cycle.request.stop),
        live=world.telemetry.live_predictions() if world.telemetry else None,
    )
    return ask_probes(inputs, policy.probes, world.clock.monotonic() - began)


def measured(asker: Asker, job: TrainingJob, budget_s: float, stop: StopSignal) -> Mapping[str, Measurement]:
    """Return the measurements of a child by name, each with figures or with why there are none.

    The directory of the job still holds data and model. Nothing is measured without a budget.

    Raises:
        Interrupted: `stop` was set.
    """
    if not budget_s:
        return {}
    question = measure_question(job, budget_s=budget_s)
    ask = partial(asker.ask, question, job.directory, stop)
    found, why = as_far_as_it_came(ask, question, job.directory, Measurements())
    absent = Measurement(figures={}, cost_s=0.0, absent_because=why or "not measured")
    return {name: found.by_name.get(name, absent) for name in MEASURED}
