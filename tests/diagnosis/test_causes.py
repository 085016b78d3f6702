"""The first finding names the planted cause; here with one seed and the cheap causes.

All causes with three seeds each, and the healthy store, are in tests/chaos/test_planted_causes.py.
"""

import pytest

from clm.gates.decision import DecisionKind
from clm.report.proof_pack import as_markdown, found
from tests.diagnosis.causes import CAUSES, WORDS, run

pytestmark = pytest.mark.slow
SEED = 1


@pytest.mark.parametrize("name", ["windows of one repeated row", "the profit under another name"])
def test_a_cause_in_the_data_is_found_before_training(name, tmp_path):
    """A run that cannot succeed takes a second."""
    report = run(CAUSES[name], SEED, tmp_path)
    assert report.decision.kind is DecisionKind.REFUSED
    assert found(report.pack)[0]["name"] == CAUSES[name].finding


def test_a_cause_in_the_training_is_named_with_its_measurement(tmp_path):
    """With real training and measurements, a diverging rate ranks before its consequences."""
    report = run(CAUSES["a learning rate of 0.1"], SEED, tmp_path)
    cause = report.pack.diagnosis.cause
    assert cause.name == "learning_rate_too_high"
    assert cause.cost_s > 0
    assert "memorising 64 rows" in cause.message


@pytest.mark.parametrize("weight", ["0.1", "1.0"])
def test_e9_bought_spread_passes_gates_1_and_2_and_is_rejected_in_these_words(weight, tmp_path):
    """Labels are random and the loss rewards spread, so the run must be rejected."""
    report = run(CAUSES[f"spread paid for with {weight}"], SEED, tmp_path, measure=False)
    status = {verdict.name: verdict.status for verdict in report.pack.verdicts}
    assert (status["action_diversity"], status["confidence_spread"]) == ("PASS", "PASS")
    assert status["skill"] == "FAIL"
    assert report.decision.kind is DecisionKind.REJECT
    cause = found(report.pack)[0]
    assert cause["name"] == "spread_bought_without_skill"
    assert WORDS in cause["message"]
    assert WORDS in as_markdown(report.pack)
