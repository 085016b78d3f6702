"""Estimate how much data would show an edge, if there is one."""

from statistics import NormalDist

from clm.data.floor import Floor

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
