"""The world of a cycle, in memory: what was asked of it can be looked up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from clm.artefacts.files import sha256_of
from clm.artefacts.manifest import Artefact
from clm.data.dataset import Dataset
from clm.data.reading import RawSamples, SampleColumns, columns_of
from clm.domain.freeze import THAWED, Freeze, FreezeState
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingResult
from clm.domain.ledger import GENESIS, LedgerEntry, LedgerStanding, PastAttempts
from clm.domain.sample import Floats
from clm.domain.task import Task
from clm.events import Event
from clm.ports import (
    PromotionOutcome,
    PromotionState,
    PromotionWish,
    RunRecord,
    RunStatus,
    StopSignal,
)
from tests.builders import NOW

PLAIN_WISH = PromotionWish()

Predict = Callable[[Dataset], Floats]


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
    """A child that answers at once, or raises."""

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
        job.directory.mkdir(parents=True)
        weights = job.directory / "model.pth"
        weights.write_bytes(self.weights)
        return TrainingResult(
            weights_path=weights,
            file_sha256=sha256_of(weights),
            weights_hash="w" * 64,
            n_parameters=1,
            best_epoch=1,
            stopped_because="epochs",
            epochs=(),
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
    wishes: list[PromotionWish] = field(default_factory=list)
    open: bool = False
    serves: ChampionRef | None = None

    def champion(self) -> ChampionRef | None:
        return self.serves

    def promote(self, artefact: Artefact, run_id: str, wish: PromotionWish = PLAIN_WISH) -> PromotionOutcome:
        self.promoted.append(artefact.manifest.version)
        self.wishes.append(wish)
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
    """Runs and events in memory."""

    events: list[Event] = field(default_factory=list)
    finished: list[tuple[str, RunStatus, str | None]] = field(default_factory=list)
    models: list[Artefact] = field(default_factory=list)
    attempts: list[tuple[bool, Mapping[str, object]]] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    past: PastAttempts = field(default_factory=PastAttempts)
    broken_because: str | None = None
    facts: list[Mapping[str, object]] = field(default_factory=list)
    records: list[RunRecord] = field(default_factory=list)

    def record(self, entry: LedgerEntry) -> None:
        self.entries.append(entry)

    def standing(self) -> LedgerStanding:
        return LedgerStanding(
            rows=self.past.since_crown,
            head_sha256=GENESIS,
            champion=None,
            crowned_at=None,
            past=self.past,
            broken_because=self.broken_because,
        )

    def start_run(
        self,
        run_id: str,
        task: Task | None,
        started_at: datetime,
        trigger_reason: str,
        events: Sequence[Event],
    ) -> None:
        self.events += events

    def record_model(
        self,
        artefact: Artefact,
        *,
        training_samples: int,
        seconds: float,
        validation_accuracy: float | None,
    ) -> None:
        self.models.append(artefact)

    def finish_run(
        self,
        run_id: str,
        *,
        status: RunStatus,
        completed_at: datetime,
        decision: str | None,
        version: str | None,
        reason: str,
        facts: Mapping[str, object],
        proof_path: Path | None,
        events: Sequence[Event],
        judged: bool,
        evidence: Mapping[str, object],
    ) -> None:
        self.events += events
        self.attempts.append((judged, evidence))
        self.facts.append(facts)
        self.finished.append((run_id, status, decision))
        self.records.append(
            RunRecord(
                run_id=run_id,
                status=status,
                decision=decision,
                version=version,
                reason=reason,
                started_at=completed_at,
                completed_at=completed_at,
                trigger_reason="",
                proof_path=str(proof_path),
                ledger_row=len(self.finished),
                notes=facts,
            )
        )

    def run(self, run_id: str) -> RunRecord | None:
        return None

    def recent_runs(self, limit: int) -> list[RunRecord]:
        return self.records[::-1][:limit]


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
