"""All gates in the order of docs/reference/gates.md. To add one, write a function and list it in GATES."""

from collections.abc import Callable

from clm.evaluation.evaluation import Comparison
from clm.gates.calibration import calibration
from clm.gates.champion import beats_champion
from clm.gates.distribution import action_diversity, confidence_spread
from clm.gates.policy import GatePolicy
from clm.gates.profit import profit
from clm.gates.serving import budget, parity
from clm.gates.shadow import agreement, outcome_calibration
from clm.gates.skill import skill
from clm.gates.slices import worst_slice
from clm.gates.verdict import GateVerdict

Gate = Callable[[Comparison, GatePolicy], GateVerdict]
"""Pure; its function name is the verdict's name. NaN never passes."""

GATES: tuple[Gate, ...] = (
    action_diversity,
    confidence_spread,
    agreement,
    outcome_calibration,
    skill,
    beats_champion,
    calibration,
    worst_slice,
    parity,
    budget,
    profit,
)


def judge(comparison: Comparison, policy: GatePolicy) -> tuple[GateVerdict, ...]:
    """Return the verdict of every gate; one failure does not hide another."""
    return tuple(gate(comparison, policy) for gate in GATES)
