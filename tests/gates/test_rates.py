"""Of 50 models of shuffled labels at most two pass gate 5; of models with a strong signal 19 of 20 go in.

A regression stands in for the network here; `tests/chaos/test_gate_rates.py` trains the network itself.
"""

from clm.evaluation.metrics import auroc
from clm.gates.decision import DecisionKind
from clm.gates.verdict import GateStatus
from tests.gates.rates import MONTH, history, judged, shuffled, stand_in


def test_shuffled_labels_pass_gate_5_in_at_most_1_of_20_seeds() -> None:
    """What the features say of labels without a meaning is luck, and luck is what an interval is for."""
    passed = 0
    for seed in range(50):
        noise = shuffled(history(seed), seed)
        verdicts, decision = judged(noise, stand_in(noise))
        (skill,) = [verdict for verdict in verdicts if verdict.name == "skill"]
        passed += skill.status is GateStatus.PASS
        assert skill.status is GateStatus.PASS or decision.kind is DecisionKind.REJECT
    assert passed <= 0.05 * 50


def test_a_strong_signal_is_promoted_in_at_least_19_of_20_seeds() -> None:
    """All gates together, calibration and symbols too: a judge who lets nobody in is no judge."""
    promoted, strong = 0, 0
    for seed in range(20):
        dataset = history(seed, MONTH)
        training = stand_in(dataset)
        strong += auroc(dataset.label_N[dataset.split.test], training.p_logistic_N) >= 0.75
        promoted += judged(dataset, training)[1].kind is DecisionKind.PROMOTE
    assert strong >= 15
    assert promoted >= 19
