"""Probes of the machinery: is the file the trained model, and does the engine feed it real input?"""

import math

from clm.diagnosis.answers import ProbeAnswer, judged, unknown
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy


def best_epoch_not_restored(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a saved file that does not reproduce the validation log loss of its best epoch."""
    name, measured = "best_epoch_not_restored", evidence.measurement("saved_file")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    reported, found = measured.figures["reported_log_loss"], measured.figures["file_log_loss"]
    distance = abs(found - reported)
    return judged(
        name,
        is_found=distance > policy.max_unreproduced,
        statistic=distance,
        threshold=policy.max_unreproduced,
        message=f"validation log loss of the saved file {found:.4f}, reported for epoch "
        f"{evidence.training.best_epoch} {reported:.4f}",
        next_step="the file does not hold the weights of the chosen epoch: keep a deep copy of the best "
        "epoch, because state_dict() returns references to the current weights",
        cost_s=measured.cost_s,
    )


def serving_input_constant(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a served model that always gets the same window; even a good model then repeats one answer."""
    name, live = "serving_input_constant", evidence.live
    if live is None or live.absent_because:
        return unknown(name, live.absent_because if live else "the telemetry is not read")
    n_answers = len(live.answers)
    if n_answers < policy.min_live:
        return unknown(name, f"only {n_answers} live answers; {policy.min_live} are needed")
    distinct, bar = len(set(live.answers)), math.ceil(policy.max_same_live * n_answers)
    return judged(
        name,
        is_found=distinct <= bar,
        statistic=float(distinct),
        threshold=float(bar),
        message=f"{distinct} distinct values among the last {n_answers} live predictions",
        next_step="retraining cannot repair this: check the input that the engine gives the model; one price "
        "repeated over the window is a constant window",
    )
