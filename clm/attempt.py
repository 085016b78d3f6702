"""One candidate: read its data, train it, judge it once on the test part, register it whatever came of it."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from clm.artefacts.golden import choose_golden, encode_golden
from clm.artefacts.inputs import inputs_of
from clm.artefacts.judgement import Judgement, write_judgement
from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.clock import iso
from clm.data.dataset import Dataset, build_dataset
from clm.data.reading import parse_samples
from clm.decision import Decision, decide
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingResult
from clm.errors import TrainingError
from clm.evaluation.agreement import disagreements
from clm.evaluation.evaluation import Comparison
from clm.evaluation.evidence import evidence_of
from clm.gates.verdict import GateVerdict
from clm.ports import (
    CandleSource,
    SampleSource,
    StopSignal,
)
from clm.questions.load_check import ProofJob
from clm.record import RunInProgress
from clm.world import Policies, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One candidate, from its training to what was decided about it."""

    job: TrainingJob
    dataset: Dataset
    training: TrainingResult
    comparison: Comparison
    verdicts: tuple[GateVerdict, ...]
    decision: Decision
    artefact: Artefact
    judgement: Judgement

    @property
    def facts(self) -> dict[str, object]:
        """Return what the proof pack tells of it."""
        names = ("dataset", "training", "comparison", "verdicts", "artefact")
        return {name: getattr(self, name) for name in names}

    @property
    def in_short(self) -> dict[str, object]:
        """Return what is told of it where another one took its place in the report."""
        candidate = self.comparison.candidate
        return {
            "version": self.artefact.manifest.version,
            "decision": self.decision.kind.value,
            "reasons": self.decision.reasons,
            "auroc": candidate.auroc,
            "log_loss": candidate.log_loss,
            "p_win_std": candidate.confidence.std,
        }


def read_dataset(
    source: SampleSource, candles: CandleSource | None, policies: Policies, now: datetime
) -> Dataset:
    """Return what is known at `now`, cut into windows and parts; nothing is judged yet.

    Raises:
        DataError: the store or the candles cannot be read.
        StoreBusy: the store's lock was held for too long.
    """
    newest = source.newest()
    since = newest - timedelta(days=policies.history_days) if newest and policies.history_days else None
    raw = source.read(since, policies.max_rows)
    table = parse_samples(raw, cutoff=now, features=policies.data.sample_features)
    wanted = policies.data.window_source == "candles"
    return build_dataset(table, policies.data, candles.read() if candles and wanted else None)


def attempt(
    run: RunInProgress,
    world: World,
    policies: Policies,
    dataset: Dataset,
    champion: ChampionRef | None,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
    *,
    directory: str = "job",
) -> Attempt:
    """Train one candidate, judge it on the test part and register it, whatever came of it."""
    job = TrainingJob(
        run_id=run.run_id,
        directory=run.directory / directory,
        spec=policies.training,
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        champion=champion,
        timeout_s=policies.train_timeout_s,
    )
    with run.phase("train"):
        training = world.trainer.train(job, dataset, on_epoch, stop)
    run.note(training=training)

    golden = choose_golden(dataset, training.p_candidate_N)
    proof = None
    if world.prover:
        with run.phase("prove"):
            proof = world.prover.prove(_proof_job(run, policies, dataset, training), golden, stop)

    with run.phase("judge"):
        evidence = evidence_of(
            dataset, training, policy=policies.evaluation, past=world.journal.standing().past, serving=proof
        )
        judgement = Judgement(evidence=evidence, gates=policies.gates)
        comparison = judgement.comparison()
        if differences := disagreements(comparison, training.figures):
            raise TrainingError("FIGURES_DIFFER", f"run {run.run_id}: {'; '.join(differences)}")
        verdicts = judgement.verdicts(comparison)
        decision = decide(verdicts)
        evidence_sha256 = write_judgement(run.directory, judgement)
    run.note(comparison=comparison, verdicts=verdicts, evidence_sha256=evidence_sha256)

    with run.phase("register"):
        golden_bytes = encode_golden(golden)
        manifest = replace(
            _manifest(run, world, policies, dataset, training, comparison, decision),
            golden_sha256=hashlib.sha256(golden_bytes).hexdigest(),
            inputs=inputs_of(dataset),
        )
        artefact = world.registry.register(training.weights_path, manifest, golden_bytes)
        world.journal.record_model(
            artefact,
            training_samples=len(dataset.split.train),
            seconds=training.seconds,
            validation_accuracy=comparison.candidate.accuracy,
        )
    run.note(artefact=artefact)
    return Attempt(
        job=job,
        dataset=dataset,
        training=training,
        comparison=comparison,
        verdicts=verdicts,
        decision=decision,
        artefact=artefact,
        judgement=judgement,
    )


def _proof_job(
    run: RunInProgress, policies: Policies, dataset: Dataset, training: TrainingResult
) -> ProofJob:
    return ProofJob(
        directory=run.directory / "proof",
        weights_path=training.weights_path,
        sha256=training.file_sha256,
        architecture=policies.training.architecture,
        context_length=dataset.context_length,
        n_features=len(dataset.feature_names),
        timeout_s=policies.train_timeout_s,
    )


def _manifest(
    run: RunInProgress,
    world: World,
    policies: Policies,
    dataset: Dataset,
    training: TrainingResult,
    comparison: Comparison,
    decision: Decision,
) -> Manifest:
    now = world.clock.now()
    candidate = comparison.candidate
    return Manifest(
        version=world.registry.new_version(now),
        sha256=training.file_sha256,
        size_bytes=training.weights_path.stat().st_size,
        created_at=iso(now),
        architecture=policies.training.architecture,
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        decision=decision.kind.value,
        metrics={
            "auroc": candidate.auroc,
            "log_loss": candidate.log_loss,
            "accuracy": candidate.accuracy,
            "precision": candidate.precision,
            "recall": candidate.recall,
            "f1": candidate.f1,
            "ece": candidate.ece,
        },
        lineage=Lineage(
            run_id=run.run_id,
            data_fingerprint=dataset.fingerprint,
            weights_hash=training.weights_hash,
            code_version=world.code_version,
            settings={"training": asdict(policies.training), "data": asdict(policies.data)},
            seed=policies.training.seed,
        ),
    )
