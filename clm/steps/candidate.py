"""One candidate: train it, judge it once on the test part, and always register it."""

import hashlib
from dataclasses import asdict

from clm.artefacts.golden import choose_golden, encode_golden
from clm.artefacts.inputs import inputs_of
from clm.artefacts.judgement import Judgement, write_judgement
from clm.artefacts.manifest import Lineage, Manifest
from clm.clock import iso
from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.load_check import GoldenRows, LoadCheck
from clm.errors import TrainingError
from clm.evaluation.agreement import disagreements
from clm.evaluation.evaluation import Evaluation
from clm.evaluation.evidence import evidence_of
from clm.gates.decision import decide
from clm.ports import Asker, StopSignal
from clm.questions.load_check import LoadCheckJob, load_check_question
from clm.questions.question import Files
from clm.steps.results import Judged, Registered, Trained
from clm.steps.world import Cycle


def train_and_judge(
    cycle: Cycle, dataset: Dataset, champion: ChampionRef | None, *, directory: str = "job"
) -> Registered:
    """Train one candidate, judge it on the test part and register it, whatever the decision.

    The look at the test part is counted, therefore a stop signal does not prevent the registration.
    """
    trained = cycle.step(train, dataset, champion, directory)
    loaded = cycle.step(check_load, trained) if cycle.policies.load_check else None
    judged = cycle.step(judge, trained, loaded)
    return cycle.uninterrupted(register, judged)


def train(cycle: Cycle, dataset: Dataset, champion: ChampionRef | None, directory: str) -> Trained:
    """Return a candidate and the golden rows of its data set.

    Raises:
        TrainingError: the child failed.
        Interrupted: the stop signal was set.
    """
    policies, request = cycle.policies, cycle.request
    job = TrainingJob(
        run_id=cycle.run.run_id,
        directory=cycle.run.directory / directory,
        spec=policies.training,
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        champion=champion,
        timeout_s=policies.train_timeout_s,
    )
    training = cycle.world.trainer.train(job, dataset, request.on_epoch, request.stop)
    golden = choose_golden(dataset, training.p_candidate_N)
    return Trained(job=job, dataset=dataset, training=training, golden=golden)


def check_load(cycle: Cycle, trained: Trained) -> LoadCheck:
    """Return what a fresh process finds in the file that would be served.

    A file that does not load is an answer, not an error.

    Raises:
        TrainingError: the process failed, or answered about another file.
        Interrupted: the stop signal was set.
    """
    training, dataset = trained.training, trained.dataset
    job = LoadCheckJob(
        directory=cycle.run.directory / "proof",
        weights_path=training.weights_path,
        sha256=training.file_sha256,
        architecture=cycle.policies.training.architecture,
        context_length=dataset.context_length,
        n_features=len(dataset.feature_names),
        timeout_s=cycle.policies.train_timeout_s,
    )
    return ask_load_check(cycle.world.asker, job, trained.golden, cycle.request.stop)


def ask_load_check(asker: Asker, job: LoadCheckJob, golden: GoldenRows, stop: StopSignal) -> LoadCheck:
    """Ask the question in the directory of the job."""
    question = load_check_question(job, golden)
    try:
        return asker.ask(question, job.directory, stop)
    finally:  # the golden rows are kept with the artefact
        files = Files(directory=job.directory, name=question.name)
        for path in (files.inputs, files.answer):
            path.with_suffix(".npz").unlink(missing_ok=True)


def judge(cycle: Cycle, trained: Trained, loaded: LoadCheck | None) -> Judged:
    """Measure the candidate on the test part, ask every gate and decide.

    Raises:
        TrainingError: FIGURES_DIFFER; the child measured other figures.
        ArtefactError: the evidence cannot be written.
    """
    evidence = evidence_of(
        trained.dataset,
        trained.training,
        policy=cycle.policies.evaluation,
        past=cycle.world.journal.standing().past,
        serving=loaded,
    )
    judgement = Judgement(evidence=evidence, gates=cycle.policies.gates)
    comparison = judgement.comparison()
    if differences := disagreements(comparison, trained.training.figures):
        raise TrainingError("FIGURES_DIFFER", f"run {cycle.run.run_id}: {'; '.join(differences)}")
    verdicts = judgement.verdicts(comparison)
    return Judged(
        trained=trained,
        judgement=judgement,
        comparison=comparison,
        verdicts=verdicts,
        decision=decide(verdicts),
        evidence_sha256=write_judgement(cycle.run.directory, judgement),
    )


def register(cycle: Cycle, judged: Judged) -> Registered:
    """Copy the candidate into the registry and record it in the store, not active."""
    training, dataset = judged.trained.training, judged.trained.dataset
    golden = encode_golden(judged.trained.golden)
    manifest = _manifest(cycle, judged, hashlib.sha256(golden).hexdigest())
    artefact = cycle.world.registry.register(training.weights_path, manifest, golden)
    cycle.world.journal.append_model(
        artefact,
        training_samples=len(dataset.split.train),
        seconds=training.seconds,
        validation_accuracy=judged.comparison.candidate.accuracy,
    )
    return Registered(judged=judged, artefact=artefact)


def _manifest(cycle: Cycle, judged: Judged, golden_sha256: str) -> Manifest:
    training, dataset = judged.trained.training, judged.trained.dataset
    now = cycle.world.clock.now()
    return Manifest(
        version=cycle.world.registry.new_version(now),
        sha256=training.file_sha256,
        size_bytes=training.weights_path.stat().st_size,
        created_at=iso(now),
        architecture=cycle.policies.training.architecture,
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        decision=judged.decision.kind.value,
        metrics=_metrics(judged.comparison.candidate),
        lineage=_lineage(cycle, judged),
        golden_sha256=golden_sha256,
        inputs=inputs_of(dataset),
    )


def _metrics(candidate: Evaluation) -> dict[str, float]:
    return {
        "auroc": candidate.auroc,
        "log_loss": candidate.log_loss,
        "accuracy": candidate.accuracy,
        "precision": candidate.precision,
        "recall": candidate.recall,
        "f1": candidate.f1,
        "ece": candidate.ece,
    }


def _lineage(cycle: Cycle, judged: Judged) -> Lineage:
    spec = cycle.policies.training
    return Lineage(
        run_id=cycle.run.run_id,
        data_fingerprint=judged.trained.dataset.fingerprint,
        weights_hash=judged.trained.training.weights_hash,
        code_version=cycle.world.code_version,
        settings={"training": asdict(spec), "data": asdict(cycle.policies.data)},
        seed=spec.seed,
    )
