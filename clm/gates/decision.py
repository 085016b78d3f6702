"""Turn verdicts or findings into one decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clm.data.audits import Finding, Severity
from clm.gates.verdict import GateStatus, GateVerdict


class DecisionKind(StrEnum):
    """The outcome of a cycle for its candidate."""

    PROMOTE = "PROMOTE"
    KEEP = "KEEP"
    """The champion stays: no gate failed, but nothing is gained. Version 0.1 wrote HOLD."""
    REJECT = "REJECT"
    REFUSED = "REFUSED"
    SKIPPED = "SKIPPED"

    @classmethod
    def _missing_(cls, value: object) -> "DecisionKind | None":
        return cls.KEEP if value == "HOLD" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision and its reasons, each one sentence."""

    kind: DecisionKind
    reasons: tuple[str, ...]


def decide(verdicts: Sequence[GateVerdict]) -> Decision:
    """Reject if a gate fails, keep the champion if nothing is gained, promote otherwise."""
    failed = [f"{v.name}: {v.reason}" for v in verdicts if v.status is GateStatus.FAIL]
    if failed:
        return Decision(kind=DecisionKind.REJECT, reasons=tuple(failed))
    idle = [
        f"nothing is gained over the champion; {v.name}: {v.reason}"
        for v in verdicts
        if v.gain is not None and not v.gain > 0
    ]
    if idle:
        return Decision(kind=DecisionKind.KEEP, reasons=tuple(idle))
    passed = [v.name for v in verdicts if v.status is GateStatus.PASS]
    if not passed:
        return Decision(kind=DecisionKind.KEEP, reasons=("no gate passed, so nothing is shown",))
    return Decision(kind=DecisionKind.PROMOTE, reasons=(f"passed: {', '.join(passed)}",))


def skip(earlier_run: str, earlier_decision: str, fingerprint: str) -> Decision:
    """Skip training: no input has changed since the last decision."""
    return Decision(
        kind=DecisionKind.SKIPPED,
        reasons=(
            f"unchanged (dataset sha {fingerprint[:12]}): samples, settings, code and champion are the same "
            f"as in run {earlier_run}, which ended with {earlier_decision}; `clm run` trains anyway",
        ),
    )


def refuse(findings: Sequence[Finding]) -> Decision:
    """Refuse the data set because of its blocking findings, before training.

    Raises:
        ValueError: there is no blocking finding.
    """
    blocking = [f"{f.name}: {f.message}" for f in findings if f.severity is Severity.BLOCK]
    if not blocking:
        raise ValueError("a data set without a blocking finding cannot be refused")
    return Decision(kind=DecisionKind.REFUSED, reasons=tuple(blocking))
