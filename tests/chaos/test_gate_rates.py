"""The network itself, trained on many small histories: how often noise gets in, and how often skill does.

`tests/gates/test_rates.py` does the same with a regression in its place. RATES_SEEDS=n takes n seeds of each.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from clm.data.dataset import Dataset
from clm.evaluation.metrics import auroc
from clm.gates.decision import Decision, DecisionKind
from clm.gates.verdict import GateStatus, GateVerdict
from clm.training.figures import figures_of
from clm.training.train import train_job
from tests.builders import training_spec
from tests.gates.rates import MONTH, history, judged, shuffled, stand_in
from tests.training import jobs

NOISE, SKILL = (int(os.environ.get("RATES_SEEDS", default)) for default in (50, 20))
pytestmark = pytest.mark.timeout(7200)


def judged_network(
    directory: Path, dataset: Dataset, *, epochs: int = 3, **settings: float
) -> tuple[dict[str, GateVerdict], Decision]:
    """Train the engine's architecture on a history, and judge it as the cycle does."""
    usual = {"batch_size": 64, "learning_rate": 5e-4, "start": "logistic"}
    spec = training_spec(**{**usual, "epochs": epochs, "patience": epochs, **settings})
    arrays = jobs.arrays(dataset, directory)
    result = train_job(jobs.job(directory, of=dataset, spec=spec), arrays, lambda _: None)
    verdicts, decision = judged(dataset, replace(result, figures=figures_of(arrays, result)))
    return {verdict.name: verdict for verdict in verdicts}, decision


def test_networks_of_shuffled_labels_pass_gate_5_in_at_most_1_of_20_seeds(tmp_path):
    """Fifty networks that learnt from labels without a meaning."""
    passed = []
    for seed in range(NOISE):
        verdicts, decision = judged_network(tmp_path / str(seed), shuffled(history(seed), seed))
        if verdicts["skill"].status is GateStatus.PASS:
            passed.append(seed)
        else:
            assert decision.kind is DecisionKind.REJECT
    assert len(passed) <= 0.05 * NOISE, passed


def test_networks_of_a_strong_signal_are_promoted_in_at_least_19_of_20_seeds(tmp_path):
    """Gates that never pass a model are useless."""
    kept_out = []
    for seed in range(SKILL):
        dataset = history(seed, MONTH)
        _, decision = judged_network(tmp_path / str(seed), dataset, epochs=6)
        if decision.kind is not DecisionKind.PROMOTE:
            kept_out.append((seed, decision.reasons))
        assert auroc(dataset.label_N[dataset.split.test], stand_in(dataset).p_logistic_N) >= 0.7
    assert len(kept_out) <= 0.05 * SKILL, kept_out


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_a_loss_that_pays_for_spread_buys_gates_1_and_2_and_nothing_else(tmp_path, weight):
    """Noise goes through both; the rejection says in which words."""
    noise = shuffled(history(0), 0)
    verdicts, decision = judged_network(tmp_path, noise, spread_weight=weight)
    assert verdicts["action_diversity"].status is GateStatus.PASS
    assert verdicts["confidence_spread"].status is GateStatus.PASS
    assert decision.kind is DecisionKind.REJECT
    assert "spread bought without skill" in verdicts["skill"].reason


def test_without_that_term_noise_does_not_spread(tmp_path):
    """The test above is not idle: on the same labels the plain loss has gate 2 fail, by whatever seed.

    One of five may pass: on labels without a meaning the calibration, too, has chance alone to go by.
    """
    noise, spread = shuffled(history(0), 0), []
    for seed in range(7, 12):
        verdicts, decision = judged_network(tmp_path / str(seed), noise, seed=seed)
        spread.append(verdicts["confidence_spread"].status is not GateStatus.FAIL)
        assert decision.kind is DecisionKind.REJECT
    assert sum(spread) <= 1, spread
