"""The proof pack that every run leaves: proof.json for machines, proof.md for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from clm.artefacts.manifest import Artefact
from clm.data.audits import Finding
from clm.data.dataset import Dataset
from clm.data.floor import Floor
from clm.diagnosis.answers import Diagnosis
from clm.domain.job import TrainingResult
from clm.domain.ledger import LedgerStanding
from clm.domain.tuning import Tuning
from clm.evaluation.evaluation import Comparison
from clm.gates.decision import Decision
from clm.gates.verdict import GateVerdict
from clm.ports import PromotionOutcome
from clm.report.candidate import attempt_section, ledger_section
from clm.report.distributions import distributions_section
from clm.report.markdown import render
from clm.report.plain import Plain, plain
from clm.report.sections import (
    artefact_section,
    data_section,
    diagnosis_section,
    findings_section,
    floor_section,
    gate_rows,
    metrics_side_by_side,
    splits_section,
    training_section,
)
from clm.report.summary import summarise, summarise_undecided

__all__ = [
    "ProofPack",
    "as_document",
    "as_json",
    "as_markdown",
    "found",
    "gate_rows",
    "metrics_side_by_side",
    "summary_sentence",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPack:
    """The facts of one run; facts that a run did not reach are None or empty."""

    run_id: str
    started_at: str
    trigger: str
    """Why the run started."""
    completed_at: str | None = None
    status: str = "running"
    """running, completed, failed or interrupted."""
    dataset: Dataset | None = None
    findings: Sequence[Finding] = ()
    floor: Floor | None = None
    basis: str | None = None
    """sha256 over all inputs of the decision; the same basis gives the same decision."""
    class_weights: bool = False
    """Whether training gives both classes the same weight."""
    training: TrainingResult | None = None
    comparison: Comparison | None = None
    verdicts: Sequence[GateVerdict] = ()
    evidence_sha256: str | None = None
    """Hash of predictions.npz, from which figures and verdicts can be computed again."""
    diagnosis: Diagnosis | None = None
    """None if nothing was rejected or the diagnosis is disabled."""
    tuning: Tuning | None = None
    """None if nothing was rejected."""
    decision: Decision | None = None
    artefact: Artefact | None = None
    promotion: PromotionOutcome | None = None
    """How the promotion ended and what it changed on the server."""
    ledger: LedgerStanding | None = None
    """State of the ledger at the start of the run."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Duration of each phase, and `total`."""
    error: str | None = None
    """The error that ended the run, in one line."""


def summary_sentence(pack: ProofPack) -> str:
    """Return the run in one sentence: the decision, its evidence, and its effect on the engine."""
    if pack.decision is None:
        return summarise_undecided(pack.status, pack.error)
    return summarise(
        decision=pack.decision,
        version=pack.artefact.manifest.version if pack.artefact else None,
        comparison=pack.comparison,
        verdicts=pack.verdicts,
        promotion=pack.promotion,
        cause=pack.diagnosis.cause if pack.diagnosis else None,
    )


def found(pack: ProofPack) -> list[dict[str, Plain]]:
    """Return the findings, the cause first: those of the probes, or of the audits without a diagnosis."""
    findings = pack.diagnosis.findings if pack.diagnosis else pack.findings
    names = ("name", "statistic", "threshold", "message", "next_step")
    return [{name: plain(getattr(finding, name)) for name in names} for finding in findings]


def as_document(pack: ProofPack) -> dict[str, Plain]:
    """Return the whole pack as plain values; every run has the same keys."""
    return {
        "run_id": pack.run_id,
        "started_at": pack.started_at,
        "completed_at": pack.completed_at,
        "status": pack.status,
        "summary": summary_sentence(pack),
        "trigger": pack.trigger,
        "basis": pack.basis,
        "data": data_section(pack.dataset) if pack.dataset else None,
        "splits": splits_section(pack.dataset) if pack.dataset else None,
        "distributions": distributions_section(pack.dataset, balanced=pack.class_weights)
        if pack.dataset
        else None,
        "findings": findings_section(pack.findings),
        "signal": floor_section(pack.floor) if pack.floor else None,
        "training": training_section(pack.training) if pack.training else None,
        "metrics": metrics_side_by_side(pack.comparison),
        "attempt": attempt_section(pack.comparison) if pack.comparison else None,
        "gates": [*gate_rows(pack.verdicts)],
        "evidence_sha256": pack.evidence_sha256,
        "diagnosis": diagnosis_section(pack.diagnosis) if pack.diagnosis else None,
        "tuning": plain(pack.tuning),
        "decision": pack.decision.kind.value if pack.decision else None,
        "reasons": list(pack.decision.reasons) if pack.decision else [],
        "artefact": artefact_section(pack.artefact) if pack.artefact else None,
        "promotion": plain(pack.promotion),
        "ledger": ledger_section(pack.ledger) if pack.ledger else None,
        "seconds": plain(pack.seconds),
        "error": pack.error,
    }


def as_json(pack: ProofPack) -> bytes:
    """Return proof.json: keys sorted, NaN as null, the same bytes for the same pack."""
    return orjson.dumps(as_document(pack), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"


def as_markdown(pack: ProofPack) -> str:
    """Return proof.md."""
    return render(as_document(pack))
