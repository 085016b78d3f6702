"""One learning cycle, top to bottom. Read this first.

rows -> samples -> data set -> findings -> training -> proof -> comparison -> verdicts -> decision
-> artefact -> promotion

Whatever its end, a run leaves a proof pack, a closed row in the journal, and events.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from clm.artefacts.golden import choose_golden, encode_golden
from clm.artefacts.inputs import inputs_of
from clm.artefacts.judgement import Judgement, write_judgement
from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.artefacts.proof_files import ProofJob
from clm.basis import basis_of, decided_on
from clm.clock import iso
from clm.data.audits import AuditPolicy, audit, blocked, with_floor
from clm.data.dataset import DataPolicy, Dataset, build_dataset
from clm.data.reading import parse_samples
from clm.decision import Decision, DecisionKind, decide, refuse, skip
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingResult, TrainingSpec
from clm.domain.task import Task
from clm.errors import Interrupted, TrainingError
from clm.evaluation.agreement import disagreements
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.evidence import evidence_of
from clm.examination import Examiner
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateVerdict
from clm.ports import (
    Brake,
    CandleSource,
    Clock,
    Journal,
    Promoter,
    PromotionKind,
    PromotionOutcome,
    PromotionState,
    PromotionWish,
    Prover,
    Registry,
    SampleSource,
    SignalProbe,
    StopSignal,
    Trainer,
)
from clm.record import CycleReport, RunInProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What an operator decided; made of the settings."""

    history_days: int
    """0 reads all."""
    max_rows: int
    data: DataPolicy
    audit: AuditPolicy
    training: TrainingSpec
    train_timeout_s: float
    evaluation: EvaluationPolicy
    gates: GatePolicy
    promote: bool
    """False leaves the switch to a person, whatever the mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The adapters a cycle works with."""

    clock: Clock
    source: SampleSource
    trainer: Trainer
    registry: Registry
    promoter: Promoter
    journal: Journal
    brake: Brake
    runs_dir: Path
    code_version: str
    candles: CandleSource | None = None
    """None where windows are made of samples."""
    signal: SignalProbe | None = None
    """None where nobody asks whether there is anything to learn."""
    prover: Prover | None = None
    """None where no fresh process is asked to load the file; gates 9 and 10 then wait."""
    examiner: Examiner = field(default_factory=Examiner)
    """Says why a candidate was rejected."""


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


def run_cycle(
    world: World,
    policies: Policies,
    *,
    task: Task | None,
    reason: str,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> CycleReport:
    """Learn once; every decision is a value, every broken promise an exception after the run was closed."""
    run = RunInProgress(task, reason, clock=world.clock, journal=world.journal, runs_dir=world.runs_dir)
    try:
        return _learn(run, world, policies, task, stop, on_epoch)
    except Exception as error:
        run.close_broken(error)
        raise


def _learn(
    run: RunInProgress,
    world: World,
    policies: Policies,
    task: Task | None,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> CycleReport:
    if frozen := world.brake.frozen_because():
        return run.close(_refused(f"nothing is trained while the system is frozen: {frozen}"))

    with run.phase("read"):
        dataset = read_dataset(world.source, world.candles, policies, run.started_at)
        findings = audit(dataset, policies.audit, run.started_at)
    run.note(dataset=dataset, findings=findings, class_weights=policies.training.class_weights)
    if blocked(findings):
        return run.close(refuse(findings))

    champion = world.promoter.champion()
    basis = basis_of(world.code_version, dataset, policies, champion)
    run.note(basis=basis)
    if task and not task.trigger.by_a_person and (earlier := decided_on(basis, world.journal)):
        return run.close(skip(earlier.run_id, str(earlier.decision), dataset.fingerprint))

    floor = None
    if world.signal:
        with run.phase("signal"):
            floor = world.signal.measure(dataset, stop)
        findings = with_floor(findings, floor, policies.audit)
        run.note(signal=floor, findings=findings)
        if blocked(findings):
            return run.close(refuse(findings))

    made = _attempt(run, world, policies, dataset, champion, stop, on_epoch)
    if made.decision.kind is DecisionKind.REJECT:
        with run.phase("diagnose"):
            run.note(
                diagnosis=world.examiner.examine(
                    made.job, dataset, made.training, made.verdicts, findings, floor, stop
                )
            )
    if made.decision.kind is not DecisionKind.PROMOTE:
        return run.close(made.decision, made.artefact)

    with run.phase("promote"):
        if stop.is_set():
            raise Interrupted("STOPPING", "asked to stop before the promotion; nothing was changed")
        why = made.decision.reasons[0]
        wish = PromotionWish(kind=PromotionKind.CYCLE, reason=why, instead_of=champion)
        promotion = _promote(world, policies, made.artefact, run, wish)
    return run.close(made.decision, made.artefact, promotion)


def _attempt(
    run: RunInProgress,
    world: World,
    policies: Policies,
    dataset: Dataset,
    champion: ChampionRef | None,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> Attempt:
    """Train one candidate, judge it on the test part and register it, whatever came of it."""
    job = TrainingJob(
        run_id=run.run_id,
        directory=run.directory / "job",
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
            dataset, training, policy=policies.evaluation, past=run.standing.past, serving=proof
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
    )


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
    return build_dataset(table, policies.data, candles.read() if candles else None)


def _promote(
    world: World, policies: Policies, artefact: Artefact, run: RunInProgress, wish: PromotionWish
) -> PromotionOutcome:
    """Ask the promoter, unless this run, the freeze keys or a broken ledger have the last word."""
    version = artefact.manifest.version
    if not policies.promote:
        why = "this run was asked not to promote"
    elif frozen := world.brake.frozen_because():
        why = f"nothing is promoted while the system is frozen: {frozen}"
    elif broken := run.standing.broken_because:
        why = f"the ledger is broken, attempts cannot be counted: {broken}; `clm verify-ledger` says more"
    else:
        return world.promoter.promote(artefact, run.run_id, wish)
    why = f"{why}; `clm promote {version}` brings it in"
    return PromotionOutcome(state=PromotionState.WAITING, version=version, reason=why, changes=())


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


def _refused(reason: str) -> Decision:
    return Decision(kind=DecisionKind.REFUSED, reasons=(reason,))
