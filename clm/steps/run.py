"""A run: opened durably, filled with the records of its steps, closed once."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from clm.artefacts.files import replace_durably
from clm.artefacts.manifest import Artefact
from clm.clock import iso
from clm.diagnosis import Diagnosis
from clm.domain.ids import run_id
from clm.domain.line import Line
from clm.domain.task import Task
from clm.errors import ArtefactError, ClmError, Interrupted
from clm.events import Event, RetrainingCompleted, RetrainingFailed, RetrainingStarted
from clm.gates.decision import Decision, DecisionKind
from clm.ports import Clock, Journal, PromotionOutcome, PromotionState, RunEnd, RunStart, RunStatus
from clm.questions.train import DATA, WEIGHTS
from clm.report.candidate import attempt_evidence
from clm.report.proof_pack import ProofPack, as_json, as_markdown, found
from clm.steps.results import Data, Ending, Record, Results

log = structlog.get_logger()

_STATUS = {
    DecisionKind.PROMOTE: "promoted",
    DecisionKind.KEEP: "held",
    DecisionKind.REJECT: "rejected",
    DecisionKind.REFUSED: "refused",
    DecisionKind.SKIPPED: "skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleReport:
    """What came of a cycle that could decide."""

    run_id: str
    decision: Decision
    version: str | None
    promotion: PromotionOutcome | None
    proof_dir: Path
    pack: ProofPack


class RunInProgress:
    """One run: opened durably, filled with the records of its steps, closed once."""

    def __init__(
        self, task: Task | None, reason: str, *, line: Line, clock: Clock, journal: Journal, runs_dir: Path
    ) -> None:
        self._family = line.family
        self._clock = clock
        self._journal = journal
        self.started_at = clock.now()
        self.run_id = run_id(self.started_at, os.urandom(4))
        self.directory = runs_dir / self.run_id
        self.directory.mkdir(parents=True, mode=0o700)
        self._began = clock.monotonic()
        self._seconds: dict[str, float] = {}
        self._closing: Callable[[], None] | None = None
        self._results = Results()
        self._error: str | None = None
        started = RetrainingStarted(
            model=self._family, timestamp=iso(self.started_at), job_id=self.run_id, trigger_reason=reason
        )
        start = RunStart(
            run_id=self.run_id,
            family=self._family,
            started_at=self.started_at,
            trigger_reason=reason,
            task=task,
        )
        journal.start_run(start, [started])
        self.standing = journal.standing()
        """The ledger when the run began; no other process appends to it during the run."""
        self._pack = ProofPack(
            run_id=self.run_id, started_at=iso(self.started_at), trigger=reason, ledger=self.standing
        )

    def keep(self, record: Record) -> None:
        """Keep the record of a step for the report; a later one of the same type replaces it."""
        self._results.keep(record)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the cycle, also if it fails; parts of the same name add up."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            before = self._seconds.get(name, 0.0)
            self._seconds[name] = before + self._clock.monotonic() - began

    def close(self, ending: Ending) -> CycleReport:
        """Close a run that came to a decision."""
        self.keep(ending)
        decision, artefact, promotion = ending.decision, ending.artefact, ending.promotion
        now = self._clock.now()
        reason = promotion.reason if promotion and promotion.reason else decision.reasons[0]
        event = RetrainingCompleted(
            model=self._family,
            timestamp=iso(now),
            job_id=self.run_id,
            model_path=str(artefact.model_path) if artefact else "",
            duration_seconds=self._clock.monotonic() - self._began,
            status=_published_status(ending),
            reason=reason,
            findings=found(_with_results(self._pack, self._results)),
        )
        self._closing = partial(
            self._finish, RunStatus.COMPLETED, now, reason, decision.kind.value, artefact, event
        )
        self._closing()
        return CycleReport(
            run_id=self.run_id,
            decision=decision,
            version=artefact.manifest.version if artefact else None,
            promotion=promotion,
            proof_dir=self.directory,
            pack=self._pack,
        )

    def close_broken(self, error: Exception) -> None:
        """Close a run that failed before its decision; the caller settles the task.

        A run that decided and could not be closed is closed with its decision: a model that is served must
        not be reported as a failure.
        """
        if self._closing:
            self._closing()
            return
        now = self._clock.now()
        code = error.code if isinstance(error, ClmError) else "BUG"
        status = RunStatus.INTERRUPTED if isinstance(error, Interrupted) else RunStatus.FAILED
        event = RetrainingFailed(
            model=self._family, timestamp=iso(now), job_id=self.run_id, error=str(error), code=code
        )
        self._error = f"{type(error).__name__} {error}"
        self._finish(status, now, str(error), None, None, event)

    def _finish(
        self,
        status: RunStatus,
        now: datetime,
        reason: str,
        decision: str | None,
        artefact: Artefact | None,
        event: Event,
    ) -> None:
        self._seconds["total"] = self._clock.monotonic() - self._began
        self._pack = self._assembled(status, now)
        proof = self._write_proof()
        end = RunEnd(
            run_id=self.run_id,
            status=status,
            completed_at=now,
            decision=decision,
            version=artefact.manifest.version if artefact else None,
            reason=reason,
            facts=_facts(self._pack),
            proof_path=proof[0] if proof else None,
            judged=bool(self._pack.verdicts),
            evidence={
                "proof_sha256": proof[1] if proof else None,
                "proof_md_sha256": proof[2] if proof else None,
                **attempt_evidence(self._pack.dataset, self._pack.training, self._pack.comparison),
            },
        )
        self._journal.finish_run(end, [event])
        self._remove_copies()

    def _assembled(self, status: RunStatus, completed_at: datetime) -> ProofPack:
        return replace(
            _with_results(self._pack, self._results),
            status=status.value,
            completed_at=iso(completed_at),
            seconds=dict(self._seconds),
            error=self._error,
        )

    def _remove_copies(self) -> None:
        """Remove data and weights of the candidates: the store and the registry have both."""
        for place in ("job", "tuned", "tuning/*"):
            for name in (DATA, WEIGHTS):
                for path in self.directory.glob(f"{place}/{name}"):
                    path.unlink()

    def _write_proof(self) -> tuple[Path, str, str] | None:
        """Write the proof pack, return path and both hashes; a full disk must not keep the run open."""
        path, document = self.directory / "proof.json", as_json(self._pack)
        text = as_markdown(self._pack).encode()
        try:
            replace_durably(path, document, mode=0o640)
            replace_durably(path.with_name("proof.md"), text, mode=0o640)
        except ArtefactError as error:
            log.error("proof.not_written", run_id=self.run_id, code=error.code, error=error.message)
            return None
        return path, hashlib.sha256(document).hexdigest(), hashlib.sha256(text).hexdigest()


def _published_status(ending: Ending) -> str:
    """Return the status of the event: how the promotion ended, or the decision."""
    promotion = ending.promotion
    if promotion and promotion.state is not PromotionState.COMMITTED:
        return promotion.state.value.lower()
    return _STATUS[ending.decision.kind]


def _with_results(pack: ProofPack, results: Results) -> ProofPack:
    """Return the pack with the records of the steps."""
    data, ending = results.last(Data), results.last(Ending)
    trained, judged = results.trained, results.judged
    return replace(
        pack,
        dataset=results.dataset,
        findings=data.findings if data else (),
        floor=data.floor if data else None,
        basis=results.basis,
        class_weights=data.class_weights if data else False,
        training=trained.training if trained else None,
        comparison=judged.comparison if judged else None,
        verdicts=judged.verdicts if judged else (),
        evidence_sha256=judged.evidence_sha256 if judged else None,
        diagnosis=results.last(Diagnosis),
        tuning=results.tuning,
        decision=ending.decision if ending else None,
        artefact=results.artefact,
        promotion=ending.promotion if ending else None,
    )


def _facts(pack: ProofPack) -> dict[str, object]:
    """Return what the row of the run keeps of its pack."""
    dataset, comparison = pack.dataset, pack.comparison
    facts: dict[str, object] = {}
    if dataset is not None:
        facts["symbol_count"] = len(dataset.table.symbols)
        facts["sample_count"] = len(dataset.label_N)
        facts["feature_count"] = len(dataset.feature_names)
        facts["last_sample_id"] = dataset.table.last_id
    if pack.basis is not None:
        facts["basis"] = pack.basis
    if pack.promotion and pack.promotion.waiting:
        facts["waiting"] = asdict(pack.promotion.waiting)
    if comparison is not None:
        facts["metrics"] = {
            "auroc": comparison.candidate.auroc,
            "log_loss": comparison.candidate.log_loss,
        }
    if findings := found(pack):
        facts["findings"] = findings
    return facts
