"""Probes of the training: could it learn, and did its inputs reach it?"""

import math

from clm.diagnosis.answers import ProbeAnswer, judged, unknown
from clm.diagnosis.inputs import DiagnosisInputs, ProbePolicy

REFERENCE_LEARNING_RATE = 5e-4


def learning_rate_too_high(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a learning rate that cannot memorise 64 rows although the reference rate can."""
    name, measured = "learning_rate_too_high", evidence.measurement("overfit")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    own, reference = measured.figures["own_loss"], measured.figures["reference_loss"]
    if math.isnan(reference):
        return unknown(name, "the loss is NaN even at the reference learning rate", cost_s=measured.cost_s)
    bar = policy.max_memorised_loss * math.log(2)
    # Written so that NaN counts as not learnt.
    learns, could = own <= bar, reference <= bar
    above = evidence.spec.learning_rate > REFERENCE_LEARNING_RATE
    return judged(
        name,
        is_found=above and could and not learns,
        statistic=own if math.isfinite(own) else 1e9,
        threshold=bar,
        message=f"memorising 64 rows: loss {own:.3f} at {evidence.spec.learning_rate:g}, {reference:.3f} at "
        f"{REFERENCE_LEARNING_RATE:g} (ln 2 is {math.log(2):.3f}); median gradient norm "
        f"{measured.figures['own_gradient_norm']:.3g}",
        next_step="lower CLM_TRAINING__LEARNING_RATE; 1e-4 to 1e-3 are usual",
        cost_s=measured.cost_s,
    )


def dead_units(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find dead units: a unit that responds to no window no longer learns."""
    name, measured = "dead_units", evidence.measurement("activations")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    share = measured.figures["dead_share"]
    return judged(
        name,
        is_found=share > policy.max_dead_share,
        statistic=share,
        threshold=policy.max_dead_share,
        message=f"{share:.0%} of the feed-forward units respond to no validation window",
        next_step="lower CLM_TRAINING__LEARNING_RATE, and check for extreme feature values",
        cost_s=measured.cost_s,
    )


def features_unscaled(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find features of very different scale: the network sees only the largest."""
    name = "features_unscaled"
    measured = evidence.measurement("scaling")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    figures = measured.figures
    gain = figures["own_by_heart"] - figures["scaled_by_heart"]
    return judged(
        name,
        is_found=gain > policy.min_scaling_gain,
        statistic=gain,
        threshold=policy.min_scaling_gain,
        message=f"memorising 64 rows: loss {figures['own_by_heart']:.3f} as set and "
        f"{figures['scaled_by_heart']:.3f} with scaled features; unscaled, they differ by a factor of "
        f"{figures['scale_ratio']:,.0f}; a short training gives "
        f"std of P(WIN) {figures['own_std']:.4f} and AUROC {figures['own_auroc']:.3f} on validation as set, "
        f"{figures['scaled_std']:.4f} and {figures['scaled_auroc']:.3f} scaled",
        next_step="CLM_TRAINING__SCALING=standard",
        cost_s=measured.cost_s,
    )


def static_inputs_erased(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a normalisation over time that removes inputs which are constant in a window."""
    name, measured = "static_inputs_erased", evidence.measurement("activations")
    if measured.absent_because:
        return unknown(name, measured.absent_because, cost_s=measured.cost_s)
    share, kept = measured.figures["static_share"], measured.figures["static_kept"]
    return judged(
        name,
        is_found=share > policy.min_static_share and kept < policy.min_static_kept,
        statistic=kept,
        threshold=policy.min_static_kept,
        message=f"{share:.0%} of the inputs' variance is between windows; {kept:.2%} of a change there is "
        "left after the network's normalisation",
        next_step="use an architecture that does not normalise its input over the window; scaling belongs "
        "in the first layer",
        cost_s=measured.cost_s,
    )


def overfits(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a training that gets worse on validation from the start."""
    name, losses = "overfits", [epoch.validation_log_loss for epoch in evidence.training.epochs]
    if len(losses) < 2:
        return unknown(name, "one epoch shows no trend")
    rise, gained = losses[-1] - min(losses), evidence.validation_base_log_loss - min(losses)
    return judged(
        name,
        is_found=rise > policy.rises_after_best and not gained > policy.still_falling,
        statistic=rise,
        threshold=policy.rises_after_best,
        message=f"validation log loss rises by {rise:.3f} after epoch {evidence.training.best_epoch} of "
        f"{len(losses)}; at its best it is {gained:+.3f} below the base rate's",
        next_step="raise CLM_TRAINING__DROPOUT, CLM_TRAINING__WEIGHT_DECAY or "
        "CLM_TRAINING__LABEL_SMOOTHING, or lower CLM_TRAINING__LEARNING_RATE",
    )


def undertrained(evidence: DiagnosisInputs, policy: ProbePolicy) -> ProbeAnswer:
    """Find a training whose last epoch still improved validation."""
    name, losses = "undertrained", [epoch.validation_log_loss for epoch in evidence.training.epochs]
    if len(losses) < 2:
        return unknown(name, "one epoch shows no trend")
    gain = min(losses[:-1]) - losses[-1]
    done = evidence.training.epochs[-1].epoch == evidence.spec.epochs
    return judged(
        name,
        is_found=done and gain > policy.still_falling,
        statistic=gain,
        threshold=policy.still_falling,
        message=f"the last of {len(losses)} epochs lowered validation log loss by {gain:.4f} nats",
        next_step="raise CLM_TRAINING__EPOCHS",
    )
