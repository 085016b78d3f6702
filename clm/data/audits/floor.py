"""The audit of last resort: do the features predict anything at all."""

import math

from clm.data.findings import AuditPolicy, Finding, Severity
from clm.data.floor import Floor


def no_skill(floor: Floor, policy: AuditPolicy) -> Finding | None:
    """Where neither a linear model nor small trees find anything, there may be nothing to find."""
    if floor.p_value <= policy.max_p_value:
        return None
    shown = ", ".join(
        f"{name} AUROC {skill.auroc:.3f} (p {skill.p_value:.3f})" for name, skill in floor.skills.items()
    )
    measured = not math.isnan(floor.p_value)
    message = (
        f"no linear or tree baseline shows skill: {shown} on {floor.n_rows:,} rows out of sample, "
        f"{floor.n_blocks} blocks of time; p {floor.p_value:.3f} for the better of them"
        if measured
        else f"whether a linear or tree baseline shows skill is not known: {floor.absent_because}"
    )
    few = measured and len(floor.skills) > policy.max_p_value * floor.n_blocks
    return Finding(
        name="no_skill",
        severity=Severity.BLOCK if measured and policy.block_without_skill else Severity.WARN,
        statistic=floor.p_value if measured else 1.0,
        threshold=policy.max_p_value,
        rows=floor.n_rows,
        message=message,
        next_step="collect samples over more time: so few blocks cannot show skill, however good it looks"
        if few
        else "look for features that tell the outcome; a larger model will not find what is not there",
    )
