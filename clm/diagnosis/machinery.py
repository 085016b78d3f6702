"""Probes of the machinery: is the file the trained model, and does the engine feed it anything?"""

import math

from clm.diagnosis.answers import ProbeAnswer, judged, unknown
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy


def best_epoch_not_restored(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """The saved file has to reproduce the validation score that chose its epoch."""
    name, measured = "best_epoch_not_restored", evidence.measurement("saved_file")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    reported, found = measured.figures["reported_log_loss"], measured.figures["file_log_loss"]
    distance = abs(found - reported)
    return judged(
        name,
        guilty=distance > policy.max_unreproduced,
        statistic=distance,
        threshold=policy.max_unreproduced,
        message=f"validation log loss of the saved file {found:.4f}, reported for epoch "
        f"{evidence.training.best_epoch} {reported:.4f}",
        next_step="the file holds another epoch's weights than those that were chosen: keep a deep copy of "
        "the best epoch, state_dict() is the living weights",
        cost_s=measured.cost_s,
    )


def serving_input_constant(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """A model that is fed the same window again and again gives the same answer, however good it is."""
    name, live = "serving_input_constant", evidence.live
    if live is None or live.absent_because:
        return unknown(name, live.absent_because if live else "nobody reads the telemetry")
    n_answers = len(live.answers)
    if n_answers < policy.fewest_live:
        return unknown(name, f"only {n_answers} live answers, {policy.fewest_live} are needed")
    distinct, least = len(set(live.answers)), math.ceil(policy.max_same_live * n_answers)
    return judged(
        name,
        guilty=distinct <= least,
        statistic=float(distinct),
        threshold=float(least),
        message=f"{distinct} distinct values among the last {n_answers} live predictions",
        next_step="no retraining repairs that: look what the engine feeds the model; one price repeated over "
        "the window is a constant window",
    )
