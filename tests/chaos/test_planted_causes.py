"""The first finding of a whole cycle names the planted cause, with three seeds each."""

import pytest

from clm.gates.decision import DecisionKind
from clm.report.proof_pack import found
from tests.diagnosis.causes import CAUSES, HEALTHY, WORDS, run

SEEDS = (1, 2, 3)
OPEN = {
    (
        "regimes that a shuffle remembers",
        2,
    ): "the model is promoted; the judgement of worth misses this time leak",
}
"""Cases that fail today, with the reason. After a repair the strict mark fails, and the entry goes."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def case(name, seed):
    why = OPEN.get((name, seed))
    marks = pytest.mark.xfail(strict=True, raises=AssertionError, reason=why) if why else ()
    return pytest.param(name, seed, marks=marks)


@pytest.mark.parametrize(("name", "seed"), [case(name, seed) for seed in SEEDS for name in CAUSES])
def test_the_first_finding_names_the_planted_cause(name, seed, tmp_path):
    """Each case has one fault; findings that follow from it may come after it."""
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
