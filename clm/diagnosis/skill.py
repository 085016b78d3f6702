"""Probes of skill: is there anything to learn, and is apparent skill real?"""

import math
from statistics import NormalDist

from clm.data.floor import Floor
from clm.diagnosis.answers import ProbeAnswer, judged, unknown
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy
from clm.gates.verdict import GateStatus

WORDS = "spread bought without skill"


def time_leak(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find rows of the same hours on both sides of a split, which let a model memorise the outcome."""
    name, measured = "time_leak", evidence.measurement("time")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    naive, purged = measured.figures["naive_auroc"], _purged_auroc(evidence, measured.figures["purged_auroc"])
    return judged(
        name,
        is_found=naive - purged > policy.max_naive_gain,
        statistic=naive - purged,
        threshold=policy.max_naive_gain,
        message=f"boosted trees score AUROC {naive:.3f} if rows are shuffled before the split, and "
        f"{purged:.3f} if training ends before validation begins",
        next_step="trust the second figure: rows of the same time share their outcome, so a shuffled split "
        "measures memory; look for features that encode the time of a row",
        cost_s=measured.cost_s,
    )


def spread_bought_without_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find spread that a loss term rewarded although there is no skill."""
    weight = evidence.spec.spread_weight
    return judged(
        "spread_bought_without_skill",
        is_found=weight > 0 and _wide_without_skill(evidence),
        statistic=weight,
        threshold=0.0,
        message=f"{WORDS}: the loss rewards it with weight {weight:g}; gates 1 and 2 pass, skill fails"
        if weight
        else "no loss term rewards spread",
        next_step="CLM_TRAINING__SPREAD_WEIGHT=0; spread is useful only if it correlates with the outcome",
    )


def no_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a data set in which neither a linear model nor small trees show skill."""
    floor = evidence.floor
    found = next((finding for finding in evidence.findings if finding.name == "no_skill"), None)
    if floor is None or floor.absent_because:
        return unknown("no_skill", floor.absent_because if floor else "CLM_DATA__FLOOR=off")
    return judged(
        "no_skill",
        is_found=not floor.p_value <= policy.max_p_value,
        statistic=floor.p_value,
        threshold=policy.max_p_value,
        message=found.message if found else f"a plain model shows skill, p {floor.p_value:.3f}",
        next_step=f"{found.next_step if found else ''}; {data_needed(floor, policy.max_p_value)}".lstrip(
            "; "
        ),
    )


def learning_curve_flat(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a learning curve on which four times the rows add nothing."""
    name, measured = "learning_curve_flat", evidence.measurement("learning_curve")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    quarter, half, all_rows = (measured.figures[part] for part in ("quarter", "half", "all"))
    gain = all_rows - quarter
    return judged(
        name,
        is_found=gain < policy.flat_curve and all_rows < policy.no_auroc,
        statistic=gain,
        threshold=policy.flat_curve,
        message=f"validation AUROC of a plain model on a quarter, half and all of the training rows: "
        f"{quarter:.3f}, {half:.3f}, {all_rows:.3f}",
        next_step="more rows of the same kind do not help; other features are needed",
        cost_s=measured.cost_s,
    )


def spread_without_skill(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find wide predictions without skill although no loss term rewards spread: noise was memorised."""
    spread = evidence.training.epochs[-1].validation_p_win_std if evidence.training.epochs else 0.0
    return judged(
        "spread_without_skill",
        is_found=not evidence.spec.spread_weight and _wide_without_skill(evidence),
        statistic=spread,
        threshold=0.0,
        message=f"{WORDS}, without a loss term that rewards it: gates 1 and 2 pass, skill fails",
        next_step="do not mistake spread for skill: training memorised the noise of its rows",
    )


def misses_signal(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a model without skill although plain models show skill with the same features."""
    floor = evidence.floor
    if floor is None or floor.absent_because:
        return unknown("misses_signal", "the floor was not measured")
    return judged(
        "misses_signal",
        is_found=floor.p_value <= policy.max_p_value and evidence.status("skill") is GateStatus.FAIL,
        statistic=floor.p_value,
        threshold=policy.max_p_value,
        message=f"plain models show skill at the last step (p {floor.p_value:.3f}), but the skill gate fails",
        next_step="there is something to learn: try other training settings",
    )


def _purged_auroc(evidence: DiagnosisInputs, of_validation: float) -> float:
    """Return the lower AUROC: validation covers a few weeks, the folds most of the history."""
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
    # The gate may also fail because a baseline is better; then there is skill, but less than the baseline's.
    return not (skill.observed or 0.0) > (skill.threshold or 0.0)


_HOPELESS = 0.505
"""AUROC up to which more of the same rows cannot show skill in any useful time."""


def data_needed(floor: Floor, max_p_value: float) -> str:
    """Describe how much history would be needed, if the edge of the best plain model is real.

    Evidence grows with the square root of the number of independent blocks of time. The factor is the square
    of the required z divided by the observed z. A p-value of 0.5 or more has no edge to extrapolate.
    """
    known = [skill for skill in floor.skills.values() if skill.p_value == skill.p_value]
    if not known:
        return "no plain model could be scored; samples with both outcomes are needed"
    best = min(known, key=lambda skill: skill.p_value)
    tests = len(known)
    if best.auroc <= _HOPELESS or best.p_value >= 0.5:
        return (
            f"the best plain model has AUROC {best.auroc:.3f}: no amount of the same rows would show skill; "
            "other features are needed"
        )
    normal = NormalDist()
    wanted, found = -normal.inv_cdf(max_p_value / tests), -normal.inv_cdf(best.p_value)
    # A permutation test of n blocks cannot give a p-value below 1 / n, even for a strong effect.
    blocks = max(round(floor.n_blocks * (wanted / found) ** 2), round(tests / max_p_value))
    return (
        f"if AUROC {best.auroc:.3f} is real, about {blocks:,} blocks of time out of sample would show it; "
        f"there are {floor.n_blocks:,}"
    )
