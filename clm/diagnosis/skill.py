"""Probes of what was learnt: was there anything to learn, and is what looks like skill any?"""

import math

from clm.diagnosis.answers import ProbeAnswer, judged, unknown
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy
from clm.diagnosis.needs import data_needed
from clm.gates.verdict import GateStatus

WORDS = "spread bought without skill"


def time_leak(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Rows of the same hours on both sides of a cut let a model remember instead of predict."""
    name, measured = "time_leak", evidence.measurement("time")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    naive, purged = measured.figures["naive_auroc"], _purged_auroc(evidence, measured.figures["purged_auroc"])
    return judged(
        name,
        guilty=naive - purged > policy.max_naive_gain,
        statistic=naive - purged,
        threshold=policy.max_naive_gain,
        message=f"boosted trees score AUROC {naive:.3f} where rows are shuffled before the split, and "
        f"{purged:.3f} where training ends before validation begins",
        next_step="believe the second figure: rows of one time share their outcome, so that whoever shuffles "
        "measures memory; look for features that say when a row is instead of what it is",
        cost_s=measured.cost_s,
    )


def spread_bought_without_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """A loss term paid for spread, and there is nothing behind it."""
    weight = evidence.spec.spread_weight
    return judged(
        "spread_bought_without_skill",
        guilty=weight > 0 and _wide_without_skill(evidence),
        statistic=weight,
        threshold=0.0,
        message=f"{WORDS}: the loss paid for it with weight {weight:g}; gates 1 and 2 pass, skill fails"
        if weight
        else "no loss term paid for spread",
        next_step="CLM_TRAINING__SPREAD_WEIGHT=0; spread is worth something only if it goes with the outcome",
    )


def no_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Where neither a linear model nor small trees find anything, a network has nothing to find."""
    floor = evidence.floor
    found = next((finding for finding in evidence.findings if finding.name == "no_skill"), None)
    if floor is None or floor.absent_because:
        return unknown("no_skill", floor.absent_because if floor else "CLM_DATA__FLOOR=off")
    return judged(
        "no_skill",
        guilty=not floor.p_value <= policy.max_p_value,
        statistic=floor.p_value,
        threshold=policy.max_p_value,
        message=found.message if found else f"a plain model shows skill, p {floor.p_value:.3f}",
        next_step=f"{found.next_step if found else ''}; {data_needed(floor, policy.max_p_value)}".lstrip(
            "; "
        ),
    )


def learning_curve_flat(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Where four times the rows add nothing, a fifth time adds nothing either."""
    name, measured = "learning_curve_flat", evidence.measurement("learning_curve")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    quarter, half, all_rows = (measured.figures[part] for part in ("quarter", "half", "all"))
    gain = all_rows - quarter
    return judged(
        name,
        guilty=gain < policy.flat_curve and all_rows < policy.no_auroc,
        statistic=gain,
        threshold=policy.flat_curve,
        message=f"validation AUROC of a plain model on a quarter, half and all of the training rows: "
        f"{quarter:.3f}, {half:.3f}, {all_rows:.3f}",
        next_step="more rows of the same kind say no more: other features are needed",
        cost_s=measured.cost_s,
    )


def spread_without_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Wide predictions without skill, although no loss term rewards spread: the noise was learnt."""
    spread = evidence.training.epochs[-1].validation_p_win_std if evidence.training.epochs else 0.0
    return judged(
        "spread_without_skill",
        guilty=not evidence.spec.spread_weight and _wide_without_skill(evidence),
        statistic=spread,
        threshold=0.0,
        message=f"{WORDS}, without a loss term that pays for it: gates 1 and 2 pass, skill fails",
        next_step="do not take width for knowledge: the training learnt the noise of its rows by heart",
    )


def misses_signal(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Plain models find something in these features, and this one shows no skill."""
    floor = evidence.floor
    if floor is None or floor.absent_because:
        return unknown("misses_signal", "the signal floor was not measured")
    return judged(
        "misses_signal",
        guilty=floor.p_value <= policy.max_p_value and evidence.status("skill") is GateStatus.FAIL,
        statistic=floor.p_value,
        threshold=policy.max_p_value,
        message=f"plain models show skill at the last step (p {floor.p_value:.3f}), the gate sees none here",
        next_step="the signal is there: other settings of the training are worth trying",
    )


def _purged_auroc(evidence: DiagnosisInputs, of_validation: float) -> float:
    """Return the lower of two: one validation part is a few weeks, the folds are most of the history."""
    trees = evidence.floor.skills.get("boosted trees") if evidence.floor else None
    if trees is None or math.isnan(trees.auroc):
        return of_validation
    return min(of_validation, trees.auroc)


def _wide_without_skill(evidence: DiagnosisInputs) -> bool:
    passed = all(
        evidence.status(gate) is GateStatus.PASS for gate in ("action_diversity", "confidence_spread")
    )
    skill = next((verdict for verdict in evidence.verdicts if verdict.name == "skill"), None)
    if not passed or skill is None or skill.status is not GateStatus.FAIL:
        return False
    # It may fail for a baseline that is better: then there is skill, and less of it than elsewhere.
    return not (skill.observed or 0.0) > (skill.threshold or 0.0)
