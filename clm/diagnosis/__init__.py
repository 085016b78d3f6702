"""Why a run was rejected, with a measurement for each cause; PROBES is the list.

To add one, write a function in the file of its kind and list it here where it ranks. What takes torch is
measured in the child (MEASUREMENTS in clm/training/measure.py); plant its cause in tests/diagnosis/causes.py
and describe it in docs/explanation/diagnosis.md.
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
"""Pure; its function name is the answer's name. What was not measured is UNKNOWN, never CLEAR."""

OF_THE_MACHINE: tuple[Probe, ...] = (
    best_epoch_not_restored,
    serving_input_constant,
    learning_rate_too_high,
    dead_units,
    features_unscaled,
    static_inputs_erased,
)
"""They spoil any data, and rank before what the audits found in it."""

OF_THE_OUTCOME: tuple[Probe, ...] = (
    time_leak,
    spread_bought_without_skill,
    no_skill,
    learning_curve_flat,
    spread_without_skill,
    overfits,
    undertrained,
    misses_signal,
)
"""What any of the causes above may bring about; they rank last."""

PROBES: tuple[Probe, ...] = (*OF_THE_MACHINE, *OF_THE_OUTCOME)

_RANK = [
    *(probe.__name__ for probe in OF_THE_MACHINE),
    *(ask.__name__ for ask in AUDITS),
    *(probe.__name__ for probe in OF_THE_OUTCOME),
]


def diagnose(evidence: DiagnosisInputs, policy: ProbePolicy, seconds: float = 0.0) -> Diagnosis:
    """Ask every probe and return its answer with the findings of the audits, causes first."""
    answers = [probe(evidence, policy) for probe in PROBES]
    asked = {answer.name for answer in answers}
    answers += [_of_audit(finding) for finding in evidence.findings if finding.name not in asked]
    order = list(ProbeVerdict)
    return Diagnosis(
        answers=tuple(
            sorted(answers, key=lambda answer: (order.index(answer.verdict), _RANK.index(answer.name)))
        ),
        seconds=seconds,
    )


def _of_audit(finding: Finding) -> ProbeAnswer:
    """Audits cost milliseconds before training; they are not counted."""
    return ProbeAnswer(
        name=finding.name,
        verdict=ProbeVerdict.FOUND,
        statistic=finding.statistic,
        threshold=finding.threshold,
        message=finding.message,
        next_step=finding.next_step,
    )
