"""Every planted cause with three seeds, through a whole cycle: the first finding names it."""

import pytest

from clm.decision import DecisionKind
from clm.report.proof_pack import found
from tests.diagnosis.causes import CAUSES, HEALTHY, WORDS, run

SEEDS = (1, 2, 3)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CAUSES)
def test_the_first_finding_names_the_planted_cause(name, seed, tmp_path):
    """One fault each; what it brings about may stand behind it."""
    report = run(CAUSES[name], seed, tmp_path)
    findings = found(report.pack)
    assert findings
    assert findings[0]["name"] == CAUSES[name].finding, [finding["name"] for finding in findings]
    assert findings[0]["next_step"]
    assert report.decision.kind is not DecisionKind.PROMOTE or name == "an engine that repeats one price"
    if CAUSES[name].finding == "spread_bought_without_skill":
        assert WORDS in findings[0]["message"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_healthy_store_raises_nothing(seed, tmp_path):
    """Its model is promoted, and no probe finds a fault in it when it is asked all the same."""
    report = run(HEALTHY, seed, tmp_path)
    assert report.decision.kind is DecisionKind.PROMOTE
    assert found(report.pack) == []
