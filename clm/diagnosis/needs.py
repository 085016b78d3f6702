"""How much data would show the signal that may be there."""

from statistics import NormalDist

from clm.data.floor import Floor

_HOPELESS = 0.505
"""AUROC below which more of the same shows nothing in any time that matters."""


def data_needed(floor: Floor, max_p_value: float) -> str:
    """Say how many times the history it would take, if the best model's edge is real.

    Evidence grows with the square root of the independent blocks of time: z of the p-value wanted over z of
    the one found, squared. A p-value of a half or more has no edge to extrapolate.
    """
    known = [skill for skill in floor.skills.values() if skill.p_value == skill.p_value]
    if not known:
        return "no plain model could be scored: samples with both outcomes are needed"
    best = min(known, key=lambda skill: skill.p_value)
    tests = len(known)
    if best.auroc <= _HOPELESS or best.p_value >= 0.5:
        return (
            f"the best plain model has AUROC {best.auroc:.3f}: no amount of the same rows would show skill, "
            "it takes features that say something else"
        )
    normal = NormalDist()
    wanted, found = -normal.inv_cdf(max_p_value / tests), -normal.inv_cdf(best.p_value)
    # A permutation test of n blocks has no p below 1 / n, however strong the signal is.
    blocks = max(round(floor.n_blocks * (wanted / found) ** 2), round(tests / max_p_value))
    return (
        f"if AUROC {best.auroc:.3f} is real, about {blocks:,} blocks of time out of sample would show it, "
        f"there are {floor.n_blocks:,}"
    )
