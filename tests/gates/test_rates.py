"""At most 2 of 50 models of shuffled labels pass gate 5; at least 19 of 20 models with skill are promoted.

A regression replaces the network here; `tests/chaos/test_gate_rates.py` trains the network itself.
"""

from clm.evaluation.metrics import auroc
from clm.gates.decision import DecisionKind
from clm.gates.verdict import GateStatus
from tests.gates.rates import MONTH, history, judged, shuffled, stand_in


def test_shuffled_labels_pass_gate_5_in_at_most_1_of_20_seeds() -> None:
    """Features predict random labels only by chance, and the interval must exclude chance."""
    passed = 0
    for seed in range(50):
        noise = shuffled(history(seed), seed)
        verdicts, decision = judged(noise, stand_in(noise))
        (skill,) = [verdict for verdict in verdicts if verdict.name == "skill"]
        passed += skill.status is GateStatus.PASS
        assert skill.status is GateStatus.PASS or decision.kind is DecisionKind.REJECT
    assert passed <= 0.05 * 50


def test_strong_skill_is_promoted_in_at_least_19_of_20_seeds() -> None:
    """All gates judge, calibration and symbols too. Gates that reject everything would be useless."""
    promoted, strong = 0, 0
    for seed in range(20):
        dataset = history(seed, MONTH)
        training = stand_in(dataset)
        strong += auroc(dataset.label_N[dataset.split.test], training.p_logistic_N) >= 0.75
        promoted += judged(dataset, training)[1].kind is DecisionKind.PROMOTE
    assert strong >= 15
    assert promoted >= 19
