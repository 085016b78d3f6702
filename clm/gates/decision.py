"""From verdicts, or from findings, to one decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from clm.data.audits import Finding, Severity
from clm.gates.verdict import GateStatus, GateVerdict


class DecisionKind(StrEnum):
    """What becomes of a candidate."""

    PROMOTE = "PROMOTE"
    KEEP = "KEEP"
    """The champion stays: nothing failed, and nothing is gained. Rows and packs of 0.1 call it HOLD."""
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
        return Decision(kind=DecisionKind.KEEP, reasons=("no gate passed: nothing was shown",))
    return Decision(kind=DecisionKind.PROMOTE, reasons=(f"passed: {', '.join(passed)}",))


def skip(earlier_run: str, earlier_decision: str, fingerprint: str) -> Decision:
    """Skip a training of which the outcome is known: everything it depends on is as it was."""
    return Decision(
        kind=DecisionKind.SKIPPED,
        reasons=(
            f"unchanged (dataset sha {fingerprint[:12]}): samples, settings, code and champion are those of "
            f"run {earlier_run}, which came to {earlier_decision}; `clm run` trains nevertheless",
        ),
    )


def refuse(findings: Sequence[Finding]) -> Decision:
    """Refuse the data set for its blocking findings, before anything is trained on it.

    Raises:
        ValueError: none of the findings blocks.
    """
    blocking = [f"{f.name}: {f.message}" for f in findings if f.severity is Severity.BLOCK]
    if not blocking:
        raise ValueError("a data set without a blocking finding is not refused")
    return Decision(kind=DecisionKind.REFUSED, reasons=tuple(blocking))
