"""Every probe on invented figures: FOUND, CLEAR and UNKNOWN."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clm.data.findings import Finding, Severity
from clm.data.floor import Floor, Skill
from clm.diagnosis import PROBES, DiagnosisInputs, ProbePolicy, ProbeVerdict, diagnose, knobs_for
from clm.diagnosis.skill import data_needed
from clm.domain.job import EpochReport, TrainingResult
from clm.domain.measurement import MEASURED, LivePredictions, Measurement
from clm.gates.verdict import GateStatus, GateVerdict
from tests import builders

HEALTHY: Mapping[str, Mapping[str, float]] = {
    "saved_file": {"reported_log_loss": 0.61, "file_log_loss": 0.61},
    "activations": {"dead_share": 0.01, "static_share": 0.3, "static_kept": 0.9},
    "overfit": {"own_loss": 0.01, "own_gradient_norm": 0.3, "reference_loss": 0.01},
    "time": {"naive_auroc": 0.66, "purged_auroc": 0.64},
    "learning_curve": {"quarter": 0.61, "half": 0.63, "all": 0.65},
    "scaling": {
        "own_by_heart": 0.01,
        "own_log_loss": 0.62,
        "own_auroc": 0.65,
        "own_std": 0.1,
        "scaled_by_heart": 0.01,
        "scaled_log_loss": 0.62,
        "scaled_auroc": 0.65,
        "scaled_std": 0.1,
        "scale_ratio": 3.0,
    },
}


def epochs(*losses: float, std: float = 0.15) -> tuple[EpochReport, ...]:
    """Return epochs with these validation log losses."""
    return tuple(
        EpochReport(
            epoch=number,
            epochs=len(losses),
            train_loss=0.7,
            validation_log_loss=loss,
            validation_auroc=0.6,
            validation_p_win_std=std,
            seconds=1.0,
            best=loss == min(losses[:number]),
        )
        for number, loss in enumerate(losses, start=1)
    )


def evidence(
    *,
    measured: Mapping[str, Mapping[str, float]] = HEALTHY,
    gates: Mapping[str, str] | None = None,
    losses: tuple[float, ...] = (0.63, 0.61, 0.612),
    p_value: float = 0.01,
    live: tuple[float, ...] = tuple(np.linspace(0.5, 0.9, 200)),
    findings: tuple[Finding, ...] = (),
    ranks: float = 0.47,
    **spec: object,
) -> DiagnosisInputs:
    """Return the inputs of a healthy run, with changes."""
    statuses = {"action_diversity": "PASS", "confidence_spread": "PASS", "skill": "PASS", **(gates or {})}
    return DiagnosisInputs(
        spec=builders.training_spec(epochs=len(losses), **spec),
        findings=findings,
        floor=Floor(
            skills={"logistic regression": Skill(auroc=0.6, p_value=p_value)}, n_rows=900, n_blocks=90
        ),
        training=TrainingResult(
            weights_path=Path("model.pth"),
            file_sha256="f",
            weights_hash="w",
            n_parameters=1,
            best_epoch=int(np.argmin(losses)) + 1,
            stopped_because="",
            epochs=epochs(*losses),
            seconds=1.0,
            p_candidate_N=np.array([0.5]),
            p_logistic_N=np.array([0.5]),
            p_champion_N=None,
            champion_absent_because="none",
        ),
        verdicts=tuple(
            GateVerdict(name=name, status=GateStatus(status), observed=ranks, threshold=0.5, reason="")
            for name, status in statuses.items()
        ),
        validation_base_log_loss=0.68,
        measured={
            name: Measurement(figures=figures, cost_s=1.0) for name, figures in measured.items() if figures
        },
        live=LivePredictions(answers=live),
    )


def changed(name: str, **figures: float) -> Mapping[str, Mapping[str, float]]:
    """Return the healthy measurements with other figures in one of them."""
    return {**HEALTHY, name: {**HEALTHY[name], **figures}}


NO_SKILL = {"skill": "FAIL"}

SICK: Mapping[str, DiagnosisInputs] = {
    "best_epoch_not_restored": evidence(measured=changed("saved_file", file_log_loss=0.63)),
    "serving_input_constant": evidence(live=(0.6150280237197876,) * 200),
    "learning_rate_too_high": evidence(measured=changed("overfit", own_loss=0.69), learning_rate=0.1),
    "dead_units": evidence(measured=changed("activations", dead_share=0.97)),
    "features_unscaled": evidence(measured=changed("scaling", own_by_heart=0.3)),
    "static_inputs_erased": evidence(measured=changed("activations", static_kept=1e-6)),
    "time_leak": evidence(measured=changed("time", naive_auroc=0.9)),
    "spread_bought_without_skill": evidence(gates=NO_SKILL, spread_weight=0.1, p_value=0.01),
    "no_skill": evidence(p_value=0.4),
    "learning_curve_flat": evidence(measured=changed("learning_curve", quarter=0.5, half=0.51, all=0.505)),
    "spread_without_skill": evidence(gates=NO_SKILL),
    "overfits": evidence(losses=(0.68, 0.72, 0.75)),
    "undertrained": evidence(losses=(0.68, 0.66, 0.63)),
    "misses_signal": evidence(gates={**NO_SKILL, "confidence_spread": "FAIL"}),
}
CONSEQUENCES = {"spread_bought_without_skill", "spread_without_skill"}


def test_a_healthy_run_raises_nothing():
    """A probe that finds something in a healthy run is useless."""
    found = diagnose(evidence(), ProbePolicy())
    assert found.findings == ()
    assert found.cause is None
    assert [answer.name for answer in found.answers] == [probe.__name__ for probe in PROBES]


def test_every_probe_has_a_run_that_is_sick_of_it():
    """A probe that is never triggered is untested."""
    assert list(SICK) == [probe.__name__ for probe in PROBES]


@pytest.mark.parametrize("name", SICK)
def test_each_sickness_is_named_first(name):
    """It has a statistic, a threshold and a next step; only its consequences may follow."""
    found = diagnose(SICK[name], ProbePolicy())
    assert found.cause.name == name
    assert found.cause.statistic is not None
    assert found.cause.threshold is not None
    assert found.cause.next_step
    others = [answer.name for answer in found.findings[1:]]
    assert others == (["misses_signal"] if name in CONSEQUENCES else [])


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_not_measured_is_unknown_and_never_clear(name):
    """A measurement that ran out of time must not look like a healthy result."""
    missing = diagnose(evidence(measured={**HEALTHY, name: {}}), ProbePolicy())
    unknown = {answer.name for answer in missing.answers if answer.verdict is ProbeVerdict.UNKNOWN}
    assert unknown
    assert missing.findings == ()


@pytest.mark.parametrize("name", MEASURED)
def test_a_nan_figure_is_not_clear(name):
    """Comparisons with NaN are false, and this must not look like a healthy result."""
    nan = dict.fromkeys(HEALTHY[name], float("nan"))
    answers = diagnose(evidence(measured={**HEALTHY, name: nan}), ProbePolicy()).answers
    assert any(answer.verdict is not ProbeVerdict.CLEAR for answer in answers)


@pytest.mark.parametrize("floor", [None, Floor(skills={}, n_rows=0, n_blocks=0, absent_because="off")])
def test_without_a_floor_the_probes_of_skill_are_unknown(floor):
    """CLM_DATA__FLOOR=off must look neither like a store without skill nor like one with it."""
    answers = diagnose(replace(evidence(gates=NO_SKILL), floor=floor), ProbePolicy()).answers
    unknown = {answer.name for answer in answers if answer.verdict is ProbeVerdict.UNKNOWN}
    assert unknown == {"no_skill", "misses_signal"}


def test_a_lucky_validation_part_hides_no_leak():
    """A few weeks may agree by chance; the folds of the floor cover most of the history."""
    lucky = evidence(measured=changed("time", naive_auroc=0.84, purged_auroc=0.84), p_value=0.01)
    folds = Floor(skills={"boosted trees": Skill(auroc=0.52, p_value=0.01)}, n_rows=900, n_blocks=90)
    assert diagnose(lucky, ProbePolicy()).findings == ()
    assert diagnose(replace(lucky, floor=folds), ProbePolicy()).cause.name == "time_leak"


def test_a_diverged_short_training_counts_as_not_learnt():
    """An infinite loss at the job's rate is the clearest sign of a rate that is too high."""
    sick = evidence(measured=changed("overfit", own_loss=float("inf")), learning_rate=0.5)
    assert diagnose(sick, ProbePolicy()).cause.name == "learning_rate_too_high"


def test_a_failing_reference_rate_is_not_a_rate_that_is_too_high():
    """If the reference rate does not learn the rows either, something else is wrong."""
    sick = evidence(measured=changed("overfit", own_loss=0.69, reference_loss=0.69), learning_rate=0.1)
    assert diagnose(sick, ProbePolicy()).findings == ()


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_spread_without_skill_is_said_in_these_words(weight):
    """The phrase is the same whether a loss term rewards spread or noise was memorised."""
    found = diagnose(evidence(gates=NO_SKILL, spread_weight=weight, p_value=0.4), ProbePolicy())
    words = [answer.message for answer in found.findings]
    assert any("spread bought without skill" in message for message in words)
    assert found.cause.name == ("spread_bought_without_skill" if weight else "no_skill")


def test_skill_that_a_baseline_beats_is_not_called_bought():
    """AUROC is above 0.5 but logistic regression is better, so the phrase would be wrong."""
    found = diagnose(evidence(gates=NO_SKILL, ranks=0.53), ProbePolicy())
    assert [answer.name for answer in found.findings] == ["misses_signal"]


def test_spread_with_skill_is_not_a_finding():
    """The loss term is a normal option; only missing skill is a fault."""
    assert diagnose(evidence(spread_weight=0.1), ProbePolicy()).findings == ()


def test_findings_of_audits_rank_between_machine_faults_and_outcomes():
    """A broken file affects any data, and bad data may cause a model without skill."""
    finding = Finding(
        name="duplicated_features",
        severity=Severity.WARN,
        statistic=1.0,
        threshold=0.999,
        rows=9,
        message="four are copies",
        next_step="look",
    )
    sick = replace(
        evidence(measured=changed("saved_file", file_log_loss=0.7), gates=NO_SKILL), findings=(finding,)
    )
    names = [answer.name for answer in diagnose(sick, ProbePolicy()).findings]
    assert names[:2] == ["best_epoch_not_restored", "duplicated_features"]
    assert names[-1] == "misses_signal"


def test_too_few_live_answers_are_unknown():
    """Three equal answers do not prove a constant input."""
    found = diagnose(evidence(live=(0.6,) * 3), ProbePolicy())
    assert found.findings == ()
    (answer,) = [a for a in found.answers if a.name == "serving_input_constant"]
    assert answer.verdict is ProbeVerdict.UNKNOWN


def test_without_skill_in_the_data_there_is_no_tuning_and_the_data_needed_is_reported():
    """Tuning cannot create skill that the data do not contain."""
    found = diagnose(evidence(gates=NO_SKILL, p_value=0.2, learning_rate=0.1), ProbePolicy())
    assert knobs_for(found) == ()
    cause = next(answer for answer in found.findings if answer.name == "no_skill")
    assert "blocks of time" in cause.next_step


def test_missed_skill_leads_to_tuning_of_the_training():
    """Plain models show skill, so other training settings may find it."""
    knobs = knobs_for(diagnose(evidence(gates=NO_SKILL), ProbePolicy()))
    assert knobs[0] == "start"
    assert set(knobs) >= {"learning_rate", "dropout", "label_smoothing", "weight_decay", "epochs"}


def test_knobs_of_the_cause_come_first():
    """Optuna gets all knobs; people read the first."""
    sick = evidence(measured=changed("scaling", own_by_heart=0.3), gates=NO_SKILL)
    assert knobs_for(diagnose(sick, ProbePolicy()))[0] == "scaling"


@pytest.mark.parametrize(
    ("auroc", "p_value", "expected"),
    [
        (0.5, 0.6, "no amount of the same rows"),
        (0.56, 0.16, "about 246 blocks"),
        (0.9, 0.06, "about 101 blocks"),
    ],
)
def test_the_data_needed_follows_from_the_p_value(auroc, p_value, expected):
    """Evidence grows with the square root of the blocks, so (1.645 / z)^2 times as many are needed."""
    floor = Floor(skills={"a": Skill(auroc=auroc, p_value=p_value)}, n_rows=9, n_blocks=90)
    assert expected in data_needed(floor, 0.05)
