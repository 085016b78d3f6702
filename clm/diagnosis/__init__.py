"""Find why a run was rejected, with a measurement for each cause; PROBES is the list.

To add a probe, write a function in the matching file and list it here at its rank. Measurements that need
torch are made in the child (MEASUREMENTS in clm/training/measure.py). Plant the cause in
tests/diagnosis/causes.py and describe the probe in docs/explanation/diagnosis.md.
"""

from collections.abc import Callable

from clm.data.audits import AUDITS
from clm.data.findings import Finding
from clm.diagnosis.answers import Diagnosis, ProbeAnswer, ProbeVerdict
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy
from clm.diagnosis.machinery import best_epoch_not_restored, serving_input_constant
from clm.diagnosis.repairs import knobs_for
from clm.diagnosis.skill import (
    learning_curve_flat,
    misses_signal,
    no_skill,
    spread_bought_without_skill,
    spread_without_skill,
    time_leak,
)
from clm.diagnosis.training import (
    dead_units,
    features_unscaled,
    learning_rate_too_high,
    overfits,
    static_inputs_erased,
    undertrained,
)
from clm.domain.measurement import LivePredictions, Measurement

__all__ = [
    "PROBES",
    "Diagnosis",
    "DiagnosisInputs",
    "LivePredictions",
    "Measurement",
    "ProbeAnswer",
    "ProbePolicy",
    "ProbeVerdict",
    "diagnose",
    "knobs_for",
]

Probe = Callable[[DiagnosisInputs, ProbePolicy], ProbeAnswer]
"""Pure; the name of the function is the name of the answer. Without a measurement it returns UNKNOWN."""

MACHINE_FAULTS: tuple[Probe, ...] = (
    best_epoch_not_restored,
    serving_input_constant,
    learning_rate_too_high,
    dead_units,
    features_unscaled,
    static_inputs_erased,
)
"""Faults of the machinery affect any data, so they rank before the findings of the audits."""

OUTCOMES: tuple[Probe, ...] = (
    time_leak,
    spread_bought_without_skill,
    no_skill,
    learning_curve_flat,
    spread_without_skill,
    overfits,
    undertrained,
    misses_signal,
)
"""Possible consequences of all other causes; they rank last."""

PROBES: tuple[Probe, ...] = (*MACHINE_FAULTS, *OUTCOMES)

_RANK = [
    *(probe.__name__ for probe in MACHINE_FAULTS),
    *(audit.__name__ for audit in AUDITS),
    *(probe.__name__ for probe in OUTCOMES),
]


def diagnose(evidence: DiagnosisInputs, policy: ProbePolicy, seconds: float = 0.0) -> Diagnosis:
    """Return the answers of all probes with the findings of the audits, causes first."""
    answers = [probe(evidence, policy) for probe in PROBES]
    probed = {answer.name for answer in answers}
    answers += [_of_audit(finding) for finding in evidence.findings if finding.name not in probed]
    order = list(ProbeVerdict)
    return Diagnosis(
        answers=tuple(
            sorted(answers, key=lambda answer: (order.index(answer.verdict), _RANK.index(answer.name)))
        ),
        seconds=seconds,
    )


def _of_audit(finding: Finding) -> ProbeAnswer:
    """Return an audit's finding as an answer, without its cost of a few milliseconds."""
    return ProbeAnswer(
        name=finding.name,
        verdict=ProbeVerdict.FOUND,
        statistic=finding.statistic,
        threshold=finding.threshold,
        message=finding.message,
        next_step=finding.next_step,
    )
