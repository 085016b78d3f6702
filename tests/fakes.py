"""The world of a cycle, in memory: what was asked of it can be looked up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clm.artefacts.files import sha256_of
from clm.artefacts.manifest import Artefact
from clm.data.dataset import Dataset
from clm.data.reading import RawSamples, SampleColumns, columns_of
from clm.domain.freeze import THAWED, Freeze, FreezeState
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingResult
from clm.domain.ledger import (
    GENESIS,
    LedgerEntry,
    LedgerKind,
    LedgerRow,
    LedgerStanding,
    standing_of,
)
from clm.domain.sample import Floats
from clm.errors import DataError, Interrupted, TrainingError
from clm.events import Event
from clm.ports import (
    PromotionOutcome,
    PromotionRequest,
    PromotionState,
    RunEnd,
    RunRow,
    RunStart,
    RunStatus,
    StopSignal,
)
from clm.questions.question import Question
from clm.store.json_text import from_text, to_text
from clm.store.ledger import chained
from tests.builders import NOW

A = TypeVar("A")

PLAIN_REQUEST = PromotionRequest()

Predict = Callable[[Dataset], Floats]

ONLY_EPOCH = EpochReport(
    epoch=1,
    epochs=1,
    train_loss=0.69,
    validation_log_loss=0.69,
    validation_auroc=0.5,
    validation_p_win_std=0.1,
    seconds=1.0,
    best=True,
)


def oracle(strength: float, seed: int = 1) -> Predict:
    """Return a predictor whose log odds carry `strength` nats of the label, plus unit noise."""

    def predict(dataset: Dataset) -> Floats:
        label_N = dataset.label_N[dataset.split.test]
        noise_N = np.random.default_rng(seed).normal(size=len(label_N))
        signal_N = strength * (label_N - 0.5)
        odds_N = strength * (signal_N + noise_N) + np.log(dataset.base_rate / (1 - dataset.base_rate))
        return 1 / (1 + np.exp(-odds_N))

    return predict


class FakeClock:
    """Time that passes only when somebody waits."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now
        self.waited_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self.waited_s

    def sleep(self, seconds: float) -> None:
        self.waited_s += seconds

    def pass_by(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.waited_s += seconds
        self._now += timedelta(seconds=seconds)


@dataclass
class FakeSource:
    """Rows from memory."""

    raw: RawSamples

    def read(self, since: datetime | None, max_rows: int) -> SampleColumns:
        return columns_of(self.raw)

    def newest(self) -> datetime | None:
        return NOW


@dataclass
class FakeTrainer:
    """Trains one epoch at once, or raises; passes tests/contracts/test_trainer.py."""

    predict: Predict
    predict_champion: Predict | None = None
    error: Exception | None = None
    jobs: list[TrainingJob] = field(default_factory=list)
    weights: bytes = b"weights"

    def train(
        self,
        job: TrainingJob,
        dataset: Dataset,
        on_epoch: Callable[[EpochReport], None],
        stop: StopSignal,
    ) -> TrainingResult:
        self.jobs.append(job)
        if self.error:
            raise self.error
        if stop.is_set():
            raise Interrupted("TRAINING_INTERRUPTED", f"training {job.run_id} was stopped")
        job.directory.mkdir(parents=True, exist_ok=True)
        weights = job.directory / "model.pth"
        weights.write_bytes(self.weights)
        on_epoch(ONLY_EPOCH)
        return TrainingResult(
            weights_path=weights,
            file_sha256=sha256_of(weights),
            weights_hash="w" * 64,
            n_parameters=1,
            best_epoch=ONLY_EPOCH.epoch,
            stopped_because="epochs",
            epochs=(ONLY_EPOCH,),
            seconds=1.0,
            p_candidate_N=self.predict(dataset),
            p_logistic_N=oracle(0.3, seed=99)(dataset),
            p_champion_N=self.predict_champion(dataset) if self.predict_champion else None,
            champion_absent_because="" if self.predict_champion else "the env file names no model",
        )


@dataclass
class FakePromoter:
    """An engine that takes everything, or what the test says."""

    state: PromotionState = PromotionState.COMMITTED
    promoted: list[str] = field(default_factory=list)
    requests: list[PromotionRequest] = field(default_factory=list)
    open: bool = False
    serves: ChampionRef | None = None

    def champion(self) -> ChampionRef | None:
        return self.serves

    def promote(
        self, artefact: Artefact, run_id: str, request: PromotionRequest = PLAIN_REQUEST
    ) -> PromotionOutcome:
        self.promoted.append(artefact.manifest.version)
        self.requests.append(request)
        return PromotionOutcome(
            state=self.state, version=artefact.manifest.version, reason="as the test says", changes=()
        )

    def is_open(self) -> bool:
        return self.open

    def adopt(self) -> str | None:
        return None

    def recover(self) -> PromotionOutcome | None:
        self.open = False
        return None


@dataclass
class FakeJournal:
    """Runs, models, the ledger and events in memory; passes tests/contracts/test_journal.py.

    With `broken_because` the ledger reports a break.
    """

    events: list[Event] = field(default_factory=list)
    finished: list[tuple[str, RunStatus, str | None]] = field(default_factory=list)
    models: list[Artefact] = field(default_factory=list)
    attempts: list[tuple[bool, Mapping[str, object]]] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    broken_because: str | None = None
    facts: list[Mapping[str, object]] = field(default_factory=list)
    runs: dict[str, RunRow] = field(default_factory=dict)
    ledger: list[LedgerRow] = field(default_factory=list)

    @property
    def records(self) -> list[RunRow]:
        """All runs, in the order in which they were recorded."""
        return list(self.runs.values())

    def append(self, entry: LedgerEntry) -> None:
        self.entries.append(entry)
        self._append(entry, NOW)

    def standing(self) -> LedgerStanding:
        return standing_of(self.ledger, self.broken_because)

    def start_run(self, start: RunStart, events: Sequence[Event]) -> None:
        if start.run_id in self.runs:
            raise DataError("RUN_EXISTS", f"run {start.run_id} is recorded already")
        self.runs[start.run_id] = RunRow(
            run_id=start.run_id,
            status=RunStatus.RUNNING,
            decision=None,
            version=None,
            reason="",
            started_at=start.started_at,
            completed_at=None,
            trigger_reason=start.trigger_reason,
            proof_path=None,
            ledger_row=None,
        )
        self.events += events

    def append_model(
        self,
        artefact: Artefact,
        *,
        training_samples: int,
        seconds: float,
        validation_accuracy: float | None,
    ) -> None:
        if artefact.manifest.version in {model.manifest.version for model in self.models}:
            raise DataError("MODEL_EXISTS", f"{artefact.manifest.version} is recorded already")
        self.models.append(artefact)

    def finish_run(self, end: RunEnd, events: Sequence[Event]) -> None:
        if end.run_id not in self.runs:
            raise DataError("RUN_UNKNOWN", f"run {end.run_id} is not recorded")
        self.events += events
        self.attempts.append((end.judged, end.evidence))
        self.facts.append(end.facts)
        self.finished.append((end.run_id, end.status, end.decision))
        entry = LedgerEntry(
            kind=LedgerKind.RUN,
            subject=end.run_id,
            run_id=end.run_id,
            version=end.version,
            outcome=end.decision or end.status.value.upper(),
            judged=end.judged,
            reason=end.reason,
            facts=end.evidence,
        )
        self.runs[end.run_id] = replace(
            self.runs[end.run_id],
            status=end.status,
            decision=end.decision,
            version=end.version,
            reason=end.reason,
            completed_at=end.completed_at,
            proof_path=str(end.proof_path) if end.proof_path else None,
            ledger_row=self._append(entry, end.completed_at).seq,
            # As a reader of the store gets them: plain JSON values.
            notes=from_text(to_text(end.facts)),
        )

    def run(self, run_id: str) -> RunRow | None:
        return self.runs.get(run_id)

    def recent_runs(self, limit: int) -> list[RunRow]:
        newest_first = sorted(self.records, key=lambda run: (run.started_at, run.run_id), reverse=True)
        return newest_first[:limit]

    def _append(self, entry: LedgerEntry, now: datetime) -> LedgerRow:
        known = (row for row in self.ledger if (row.kind, row.subject) == (entry.kind, entry.subject))
        if found := next(known, None):
            return found
        previous = self.ledger[-1].sha256 if self.ledger else GENESIS
        row = chained(entry, now, seq=len(self.ledger) + 1, previous=previous)
        self.ledger.append(row)
        return row


@dataclass
class FakeBrake:
    """Freeze keys; each question takes the next answer, the last one stays."""

    answers: list[str | Freeze | None] = field(default_factory=lambda: [None])

    def frozen_because(self) -> str | None:
        return self.freeze().stops_because

    def freeze(self) -> Freeze:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Freeze):
            return answer
        return Freeze(state=FreezeState.FROZEN, reason=answer, cause=answer) if answer else THAWED


class ScriptedAsker:
    """Fulfils ports.Asker: answers each question by its name, with what the test set."""

    def __init__(self, **answers: Callable[[Any], object]) -> None:
        self.answers = answers
        self.asked: list[Question[Any]] = []

    def ask(self, question: Question[A], directory: Path, stop: StopSignal) -> A:
        if stop.is_set():
            raise Interrupted("TRAINING_INTERRUPTED", f"{question.subject} was stopped")
        self.asked.append(question)
        if question.name not in self.answers:
            raise TrainingError("CHILD_FAILED", f"{question.subject}: nothing is scripted")
        answer: Any = self.answers[question.name](question.inputs)
        try:
            return question.check(answer)
        except ValueError as exc:
            raise TrainingError("RESULT_INVALID", f"{question.subject}: {exc}") from exc

    @contextmanager
    def prepared(self, name: str, directory: Path) -> Iterator["Prepared"]:
        yield Prepared(self, directory)


class Prepared:
    """A scripted child that waits for its question."""

    def __init__(self, asker: ScriptedAsker, directory: Path) -> None:
        self.asker, self.directory = asker, directory

    def ask(self, question: Question[A], stop: StopSignal) -> A:
        return self.asker.ask(question, self.directory, stop)
