"""The record of a run: opened durably, filled as facts arrive, closed once."""

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
from clm.decision import Decision, DecisionKind
from clm.domain.ids import run_id
from clm.domain.line import Line
from clm.domain.task import Task
from clm.errors import ArtefactError, ClmError, Interrupted
from clm.events import Event, RetrainingCompleted, RetrainingFailed, RetrainingStarted
from clm.ports import Clock, Journal, PromotionOutcome, PromotionState, RunEnd, RunStart, RunStatus
from clm.questions.train import DATA, WEIGHTS
from clm.report.attempt import attempt_evidence
from clm.report.proof_pack import ProofPack, as_json, as_markdown, found

log = structlog.get_logger()

_STATUS = {
    DecisionKind.PROMOTE: "promoted",
    DecisionKind.HOLD: "held",
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
    """The record of one run: opened durably, filled as facts arrive, closed once."""

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
        self._pack = ProofPack(run_id=self.run_id, started_at=iso(self.started_at), trigger=reason)
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
        """What the ledger said when the run began; nobody else appends while it is on."""
        self.note(ledger=self.standing)

    def note(self, **facts: object) -> None:
        """Add facts to the proof pack."""
        self._pack = replace(self._pack, **facts)  # type: ignore[arg-type]  # names are ProofPack's fields

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the cycle, also when it breaks."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            before = self._seconds.get(name, 0.0)
            self._seconds[name] = before + self._clock.monotonic() - began

    def close(
        self,
        decision: Decision,
        artefact: Artefact | None = None,
        promotion: PromotionOutcome | None = None,
    ) -> CycleReport:
        """Close a run that came to a decision."""
        now = self._clock.now()
        status = _STATUS[decision.kind]
        if promotion and promotion.state is not PromotionState.COMMITTED:
            status = promotion.state.value.lower()
        reason = promotion.reason if promotion and promotion.reason else decision.reasons[0]
        event = RetrainingCompleted(
            model=self._family,
            timestamp=iso(now),
            job_id=self.run_id,
            model_path=str(artefact.model_path) if artefact else "",
            duration_seconds=self._clock.monotonic() - self._began,
            status=status,
            reason=reason,
            findings=found(self._pack),
        )
        self.note(decision=decision, promotion=asdict(promotion) if promotion else None)
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
        """Close a run that could not decide; the task's fate is the caller's.

        A run that did decide and could not be closed is closed as decided: a model that serves must not be
        told as a failure.
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
        self.note(error=f"{type(error).__name__} {error}")
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
        self.note(status=status.value, completed_at=iso(now), seconds=dict(self._seconds))
        dataset, comparison = self._pack.dataset, self._pack.comparison
        facts: dict[str, object] = {}
        if dataset is not None:
            facts["symbol_count"] = len(dataset.table.symbols)
            facts["sample_count"] = len(dataset.label_N)
            facts["feature_count"] = len(dataset.feature_names)
            facts["last_sample_id"] = dataset.table.last_id
        if self._pack.basis is not None:
            facts["basis"] = self._pack.basis
        if self._pack.promotion and (waiting := self._pack.promotion.get("waiting")):
            facts["waiting"] = waiting
        if comparison is not None:
            facts["metrics"] = {
                "auroc": comparison.candidate.auroc,
                "log_loss": comparison.candidate.log_loss,
            }
        if findings := found(self._pack):
            facts["findings"] = findings
        proof = self._write_proof()
        end = RunEnd(
            run_id=self.run_id,
            status=status,
            completed_at=now,
            decision=decision,
            version=artefact.manifest.version if artefact else None,
            reason=reason,
            facts=facts,
            proof_path=proof[0] if proof else None,
            judged=bool(self._pack.verdicts),
            evidence={
                "proof_sha256": proof[1] if proof else None,
                "proof_md_sha256": proof[2] if proof else None,
                **attempt_evidence(dataset, self._pack.training, comparison),
            },
        )
        self._journal.finish_run(end, [event])
        for place in ("job", "tuned", "tuning/*"):
            for name in (DATA, WEIGHTS):  # the data is in the store, the model in the registry
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
