"""Output of the commands: JSON objects for programs, lines for people."""

from collections.abc import Callable, Mapping

from clm.report.proof_pack import found, gate_rows, metrics_side_by_side
from clm.steps.run import CycleReport


def as_answer(report: CycleReport) -> Mapping[str, object]:
    """Return the JSON object of `clm run`."""
    pack = report.pack
    promotion = report.promotion
    return {
        "run_id": report.run_id,
        "decision": report.decision.kind.value,
        "reasons": list(report.decision.reasons),
        "version": report.version,
        "gates": gate_rows(pack.verdicts),
        "metrics": metrics_side_by_side(pack.comparison),
        "findings": [
            {"name": f.name, "severity": f.severity.value, "message": f.message} for f in pack.findings
        ],
        "causes": found(pack) if pack.diagnosis else [],
        "data_fingerprint": pack.dataset.fingerprint if pack.dataset else None,
        "weights_hash": pack.training.weights_hash if pack.training else None,
        "promotion": None
        if promotion is None
        else {
            "state": promotion.state.value,
            "reason": promotion.reason,
            "changes": list(promotion.changes),
        },
        "seconds": dict(pack.seconds),
        "proof": str(report.proof_dir / "proof.json"),
    }


def print_result(report: CycleReport, say: Callable[[str], None]) -> None:
    """Print the result of a cycle for people."""
    for row in gate_rows(report.pack.verdicts):
        say(f"{row['status']:5}  {row['name']:20}  {row['reason']}")
    for finding in report.pack.findings:
        say(f"{finding.severity.value:5}  {finding.name:20}  {finding.message}")
    for answer in report.pack.diagnosis.findings if report.pack.diagnosis else ():
        say(f"FOUND  {answer.name:20}  {answer.message}; {answer.next_step}")
    say(f"{report.decision.kind.value}  {report.version or ''}  {report.decision.reasons[0]}".rstrip())
    if report.promotion:
        say(f"promotion {report.promotion.state.value}: {report.promotion.reason}")
        for change in report.promotion.changes:
            say(f"  {change}")
    say(f"proof pack: {report.proof_dir / 'proof.md'}")
