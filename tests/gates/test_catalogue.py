"""The contract of every gate."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.domain.sample import Floats
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.catalogue import GATES, Gate, judge
from clm.gates.decision import DecisionKind, decide
from clm.gates.verdict import GateStatus, GateVerdict
from tests.builders import gate_policy
from tests.evaluation.builders import POLICY, comparison, market, rows

ROWS, GOOD = market()
NAN = np.full(len(ROWS), math.nan)
UNKNOWN = Interval(value=math.nan, low=math.nan, high=math.nan, n_blocks=0, confidence=0.95)

CASES: dict[str, Comparison] = {
    "skilful": comparison(ROWS, GOOD),
    "with champion": comparison(ROWS, GOOD, p_champion_N=1 - GOOD),
    "identical to the champion": comparison(ROWS, GOOD, p_champion_N=GOOD),
    "collapsed": comparison(ROWS, np.full(len(ROWS), 0.615)),
    "reversed": comparison(ROWS, 1 - GOOD, p_champion_N=GOOD),
    "candidate unknown": comparison(ROWS, NAN, p_champion_N=GOOD),
    "champion unknown": comparison(ROWS, GOOD, p_champion_N=NAN),
    "all unknown": comparison(ROWS, NAN, p_champion_N=NAN, p_logistic_N=NAN, base_rate=math.nan),
    "no rows": comparison(rows([]), np.zeros(0), p_champion_N=np.zeros(0)),
    "one class": comparison(rows([1] * 200), np.linspace(0.2, 0.9, 200)),
}
NOTHING_KNOWN = [name for name in CASES if name in {"all unknown", "no rows"}]


def test_the_gates_stand_in_the_order_of_the_documentation() -> None:
    """Gate names are stable, because reports, events and operators' notes refer to them."""
    assert [gate.__name__ for gate in GATES] == [
        "action_diversity",
        "confidence_spread",
        "agreement",
        "outcome_calibration",
        "skill",
        "beats_champion",
        "calibration",
        "worst_slice",
        "parity",
        "budget",
        "profit",
    ]


def test_every_gate_answers_even_after_a_failure() -> None:
    """One failure does not hide another."""
    verdicts = judge(CASES["all unknown"], gate_policy())
    assert [v.name for v in verdicts] == [gate.__name__ for gate in GATES]
    assert [v.name for v in verdicts if v.status is GateStatus.FAIL] == [
        "action_diversity",
        "confidence_spread",
        "skill",
        "beats_champion",
        "calibration",
    ]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
class TestEveryGate:
    """The contract covers a new gate as soon as it is listed."""

    @pytest.mark.parametrize("case", CASES)
    def test_answers_in_its_own_name_with_one_sentence(self, gate: Gate, case: str) -> None:
        verdict = gate(CASES[case], gate_policy())
        assert verdict.name == gate.__name__
        assert verdict.reason.endswith(".")
        assert "\n" not in verdict.reason
        assert verdict.reason[0].isupper() or verdict.reason.startswith(("std of", "log loss"))

    @pytest.mark.parametrize("case", CASES)
    def test_says_what_would_have_made_it_pass(self, gate: Gate, case: str) -> None:
        verdict = gate(CASES[case], gate_policy())
        assert bool(verdict.would_pass) is (verdict.status is not GateStatus.PASS)

    @pytest.mark.parametrize("case", NOTHING_KNOWN)
    def test_never_passes_on_nothing_known(self, gate: Gate, case: str) -> None:
        assert gate(CASES[case], gate_policy()).status is not GateStatus.PASS

    def test_never_passes_on_figures_that_are_nan(self, gate: Gate) -> None:
        """Each figure of a good comparison in turn becomes NaN; a gate that reads it does not pass."""
        good = CASES["with champion"]
        unknown = replace(
            CASES["all unknown"],
            auroc_interval=UNKNOWN,
            log_loss_minus_champion=UNKNOWN,
            net_return_minus_champion=UNKNOWN,
            net_return_per_trade=UNKNOWN,
            ece_by_chance=math.nan,
            champion=good.champion,
        )
        assert gate(unknown, gate_policy()).status is not GateStatus.PASS

    def test_gives_the_same_answer_twice(self, gate: Gate) -> None:
        case = CASES["with champion"]
        assert gate(case, gate_policy()) == gate(case, gate_policy())


def status_of(name: str, verdicts: tuple[GateVerdict, ...]) -> GateStatus:
    """Return the status of one gate."""
    return next(v.status for v in verdicts if v.name == name)


def test_a_skilful_first_model_is_promoted() -> None:
    """DEFER does not prevent a promotion."""
    verdicts = judge(CASES["skilful"], gate_policy())
    assert decide(verdicts).kind is DecisionKind.PROMOTE


def test_the_champion_itself_is_held() -> None:
    """It passes every gate but gains nothing."""
    assert decide(judge(CASES["identical to the champion"], gate_policy())).kind is DecisionKind.KEEP


@pytest.mark.parametrize("case", [c for c in CASES if c not in {"skilful", "with champion"}])
def test_nothing_but_a_skilful_model_is_promoted(case: str) -> None:
    """Every other candidate is kept back or rejected."""
    assert decide(judge(CASES[case], gate_policy())).kind is not DecisionKind.PROMOTE


probabilities = st.one_of(
    st.floats(0, 1), st.sampled_from([math.nan, math.inf, -math.inf, -1e-9, 1.0000001, 0.0, 1.0])
)


@settings(max_examples=150, deadline=None)
@given(
    answers=st.lists(st.tuples(st.integers(0, 1), probabilities, probabilities, probabilities), max_size=60),
    with_champion=st.booleans(),
    base_rate=probabilities,
)
def test_whatever_is_predicted_judging_never_raises_and_nan_has_no_skill(
    answers: list[tuple[int, float, float, float]], with_champion: bool, base_rate: float
) -> None:
    """NaN, no rows and a single class come from broken models and young stores, not from bugs."""
    label = np.array([label for label, *_ in answers], np.int8)
    p, champion, logistic = (np.array([a[i] for a in answers], np.float64) for i in (1, 2, 3))
    found = comparison(
        rows(label),
        p,
        p_champion_N=champion if with_champion else None,
        p_logistic_N=logistic,
        base_rate=base_rate,
        policy=replace(POLICY, bootstrap_replicates=50),
    )
    verdicts = judge(found, gate_policy())
    known = len(p) > 0 and bool(np.all((p >= 0) & (p <= 1)))
    if not known or len(set(label.tolist())) < 2:
        assert status_of("skill", verdicts) is GateStatus.FAIL
    if not known:
        assert status_of("action_diversity", verdicts) is GateStatus.FAIL
        assert status_of("confidence_spread", verdicts) is GateStatus.FAIL
        assert status_of("beats_champion", verdicts) in {GateStatus.FAIL, GateStatus.DEFER}
        assert decide(verdicts).kind is DecisionKind.REJECT


def spoil_one(p: Floats, where: int) -> Floats:
    """Return a copy with one NaN."""
    spoilt = p.copy()
    spoilt[where] = math.nan
    return spoilt


@pytest.mark.parametrize("where", [0, 900, 1799])
def test_e9_one_nan_among_good_predictions_is_rejected(where: int) -> None:
    """A model that cannot answer one row cannot be served."""
    found = comparison(ROWS, spoil_one(GOOD, where), p_champion_N=1 - GOOD)
    assert decide(judge(found, gate_policy())).kind is DecisionKind.REJECT
