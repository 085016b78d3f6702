"""Verdicts or findings become one decision."""

import math

import pytest

from clm.data.audits import Finding, Severity
from clm.gates.decision import DecisionKind, decide, refuse
from clm.gates.verdict import GateStatus, GateVerdict


def verdict(status: GateStatus, *, name: str = "a_gate", gain: float | None = None) -> GateVerdict:
    """Return a verdict with this status."""
    return GateVerdict(
        name=name, status=status, observed=None, threshold=None, reason=f"It says {status.value}.", gain=gain
    )


def finding(severity: Severity, name: str = "an_audit") -> Finding:
    """Return a finding with this severity."""
    return Finding(
        name=name, severity=severity, statistic=3, threshold=500, rows=3, message="3 rows", next_step="wait"
    )


PASS, FAIL, DEFER = GateStatus.PASS, GateStatus.FAIL, GateStatus.DEFER


def test_a_candidate_without_a_failure_is_promoted() -> None:
    """DEFER does not prevent a promotion."""
    decision = decide([verdict(PASS, name="skill"), verdict(DEFER), verdict(PASS, name="beats", gain=0.01)])
    assert decision.kind is DecisionKind.PROMOTE
    assert decision.reasons == ("passed: skill, beats",)


def test_one_failure_rejects_and_every_failure_is_a_reason() -> None:
    """One failure does not hide another, and a gain does not outweigh it."""
    decision = decide([verdict(FAIL, name="one"), verdict(PASS, gain=1.0), verdict(FAIL, name="two")])
    assert decision.kind is DecisionKind.REJECT
    assert decision.reasons == ("one: It says FAIL.", "two: It says FAIL.")


@pytest.mark.parametrize("gain", [0.0, -0.0, -0.1, math.nan])
def test_a_candidate_that_adds_nothing_is_held(gain: float) -> None:
    """Equal, slightly worse within the margin, and unknown are not gains."""
    assert decide([verdict(PASS), verdict(PASS, gain=gain)]).kind is DecisionKind.KEEP


@pytest.mark.parametrize("verdicts", [[], [verdict(DEFER), verdict(DEFER)]])
def test_without_one_pass_nothing_was_shown(verdicts: list[GateVerdict]) -> None:
    """A promotion needs evidence in favour, not only the absence of failures."""
    assert decide(verdicts).kind is DecisionKind.KEEP


def test_a_failure_outweighs_a_missing_gain() -> None:
    """REJECT takes precedence over KEEP."""
    assert decide([verdict(FAIL), verdict(PASS, gain=0.0)]).kind is DecisionKind.REJECT


def test_blocking_findings_refuse_and_are_the_reasons() -> None:
    """A warning is reported but does not refuse the data set."""
    decision = refuse([finding(Severity.WARN, "mild"), finding(Severity.BLOCK, "too_few")])
    assert decision.kind is DecisionKind.REFUSED
    assert decision.reasons == ("too_few: 3 rows",)


def test_nothing_is_refused_without_a_blocking_finding() -> None:
    """A refusal must have a reason."""
    with pytest.raises(ValueError, match="blocking"):
        refuse([finding(Severity.WARN)])


def test_rows_of_the_first_edition_say_hold() -> None:
    """The ledger is never rewritten, so readers accept HOLD for KEEP. Any other word is an error."""
    assert DecisionKind("HOLD") is DecisionKind.KEEP
    with pytest.raises(ValueError, match="KEPT"):
        DecisionKind("KEPT")
