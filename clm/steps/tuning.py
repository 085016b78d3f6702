"""After a rejection with a repairable cause: trials on validation alone; the best becomes a candidate."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import orjson

from clm.artefacts.judgement import write_judgement
from clm.data.dataset import DataPolicy, Dataset
from clm.diagnosis import Diagnosis, knobs_for
from clm.domain.job import TrainingJob, TrainingSpec
from clm.domain.ledger import LedgerEntry, LedgerKind
from clm.domain.tuning import AS_SET, Trial, Tuning, TuningJob, with_settings
from clm.errors import ArtefactError, ConfigError, DataError
from clm.evaluation.metrics import base_log_loss
from clm.gates.decision import refuse
from clm.ports import Asker, Clock, StopSignal
from clm.questions.question import write_question
from clm.questions.train import train_question
from clm.questions.tune import Trials, tune_question
from clm.steps.asking import as_far_as_it_came
from clm.steps.candidate import train_and_judge
from clm.steps.read import read
from clm.steps.results import Proposal, Registered, Retried, Trained, Tuned
from clm.steps.world import Cycle, TuningPolicy

MIN_GAIN = 0.001
"""Reduction of validation log loss, in nats, that makes a trial worth a look at the test part."""

_STARTS = 3
"""How often a study is started, all in all: one whose child was killed goes on."""

FIXED = {"patch size, depth": "an architecture is one network with its sizes; CLM_ARCHITECTURE takes another"}

Reread = Callable[[DataPolicy], Dataset]
"""Reads the store under another policy of windows or labels; raises DataError or ConfigError."""

Datasets = dict[str, tuple[DataPolicy, Dataset]]
"""Policy and data set of each variant, by its name."""


def retry(cycle: Cycle, rejected: Registered, diagnosis: Diagnosis) -> Registered:
    """Judge the best trial that may remove the cause; return it if it passes, else what was rejected."""
    tuned = cycle.step(tune, rejected, diagnosis)
    if tuned.proposal is None:
        return rejected
    policies = replace(cycle.policies, training=tuned.proposal.spec, data=tuned.proposal.data)
    champion = rejected.judged.trained.job.champion
    again = train_and_judge(
        replace(cycle, policies=policies), tuned.proposal.dataset, champion, directory="tuned"
    )
    return cycle.uninterrupted(settle, rejected, again).kept


def tune(cycle: Cycle, rejected: Registered, diagnosis: Diagnosis) -> Tuned:
    """Return the trials after a rejection; each is in the ledger before a candidate of them is judged.

    Raises:
        Interrupted: the stop signal was set; the study goes on the next time.
    """
    tuned = climb(cycle, rejected.judged.trained, diagnosis, partial(_read_as, cycle))
    for entry in entries(cycle.run.run_id, tuned.tuning):
        cycle.world.journal.append(entry)
    return tuned


def settle(cycle: Cycle, first: Registered, again: Registered) -> Retried:
    """Return which candidate the report describes, after its evidence was written for `clm verify-run`."""
    kept, lost = (first, again) if again.is_rejected else (again, first)
    sha256 = write_judgement(cycle.run.directory, kept.judged.judgement)
    return Retried(kept=replace(kept, judged=replace(kept.judged, evidence_sha256=sha256)), lost=lost)


def climb(cycle: Cycle, rejected: Trained, diagnosis: Diagnosis, reread: Reread) -> Tuned:
    """Return the trials, and the best one if it beats both the base rate and what was rejected.

    Raises:
        Interrupted: the stop signal was set; the study goes on the next time.
    """
    policy, knobs = cycle.policies.tuning, knobs_for(diagnosis)
    if not policy.trials or not policy.budget_s:
        return _untried("CLM_TUNING__TRIALS=0 or CLM_TUNING__BUDGET_S=0", knobs)
    if not knobs:
        return _untried(_why_not(diagnosis))
    data = cycle.policies.data
    variants, left_out = _variants(data, knobs, reread)
    datasets = {AS_SET: (data, rejected.dataset), **variants}
    try:
        places = _written(rejected.job, _directory_of(rejected.job), datasets)
    except ArtefactError as error:
        return _untried(error.message, knobs)
    job = _tuning_job(policy, rejected.job, knobs, datasets, places)
    trials, why = trials_of(cycle.world.asker, job, cycle.world.clock, cycle.request.stop)
    tuning = Tuning(knobs=knobs, trials=trials, because=why, left_out={**FIXED, **left_out})
    return _chosen(tuning, datasets, rejected)


def trials_of(asker: Asker, job: TuningJob, clock: Clock, stop: StopSignal) -> tuple[tuple[Trial, ...], str]:
    """Return the trials of the study, those of an earlier process included, and why they are so few.

    Raises:
        Interrupted: `stop` was set; the child is gone, its study is kept.
    """
    deadline = clock.monotonic() + job.budget_s
    found, why = Trials(), ""
    for _ in range(_STARTS):
        left_s = deadline - clock.monotonic()
        if left_s <= 0:
            break
        question = tune_question(replace(job, budget_s=left_s))
        ask = partial(asker.ask, question, job.directory, stop)
        found, why = as_far_as_it_came(ask, question, job.directory, found)
        if not why:
            break
    return found.trials, why


def _chosen(tuning: Tuning, datasets: Datasets, rejected: Trained) -> Tuned:
    best = _best(tuning.trials, rejected_at=_excess_of(rejected))
    if best is None:
        because = tuning.because or "no try beats the base rate, and what was rejected, on validation"
        return Tuned(tuning=replace(tuning, because=because), proposal=None)
    policy, dataset = datasets[best.variant]
    spec = with_settings(rejected.job.spec, best.settings)
    return Tuned(
        tuning=replace(tuning, best=best.number), proposal=Proposal(spec=spec, data=policy, dataset=dataset)
    )


def _untried(because: str, knobs: tuple[str, ...] = ()) -> Tuned:
    return Tuned(tuning=Tuning(knobs=knobs, because=because), proposal=None)


def _directory_of(job: TrainingJob) -> Path:
    return job.directory.with_name("tuning")


def _tuning_job(
    policy: TuningPolicy,
    job: TrainingJob,
    knobs: tuple[str, ...],
    datasets: Datasets,
    places: dict[str, Path],
) -> TuningJob:
    return TuningJob(
        run_id=job.run_id,
        directory=_directory_of(job),
        study=_name_of(
            policy.family, job.spec, knobs, {name: of.fingerprint for name, (_, of) in datasets.items()}
        ),
        storage=policy.storage,
        spec=job.spec,
        knobs=knobs,
        variants=places,
        trials=policy.trials,
        budget_s=policy.budget_s,
    )


def _excess_of(rejected: Trained) -> float:
    """Return its best validation log loss above that of the base rate, in nats."""
    label_N = rejected.dataset.label_N[rejected.dataset.split.validation]
    losses = (epoch.validation_log_loss for epoch in rejected.training.epochs)
    return min(losses, default=float("inf")) - base_log_loss(label_N)


def _read_as(cycle: Cycle, policy: DataPolicy) -> Dataset:
    """Return the store under another policy of windows or labels.

    Raises:
        DataError: REFUSED; a finding forbids training.
    """
    data = read(replace(cycle, policies=replace(cycle.policies, data=policy)))
    if data.is_blocked:
        raise DataError("REFUSED", refuse(data.findings).reasons[0])
    return data.dataset


def entries(run_id: str, tuning: Tuning) -> list[LedgerEntry]:
    """Return the ledger rows of the trials; only the trial that becomes a candidate counts as an attempt."""
    return [
        LedgerEntry(
            kind=LedgerKind.TRIAL,
            subject=f"{run_id}/{trial.number}",
            run_id=run_id,
            version=None,
            outcome="CANDIDATE" if trial.number == tuning.best else trial.state.upper(),
            judged=trial.number == tuning.best,
            reason=_in_words(trial),
            facts={name: value for name, value in asdict(trial).items() if name != "number"},
        )
        for trial in tuning.trials
    ]


def _in_words(trial: Trial) -> str:
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.settings.items()
    )
    excess = "none" if trial.excess is None else f"{trial.excess:+.4f}"
    return f"{trial.variant}, {settings or 'as set'}: validation log loss - base rate's {excess}"


def _why_not(diagnosis: Diagnosis) -> str:
    cause = diagnosis.cause
    if cause is None:
        return "no cause was found that a setting repairs"
    return f"no setting repairs {cause.name.replace('_', ' ')}: {cause.next_step or cause.message}"


def _variants(data: DataPolicy, knobs: tuple[str, ...], reread: Reread) -> tuple[Datasets, dict[str, str]]:
    """Return the other variants of the data, and why some could not be read."""
    wanted: dict[str, DataPolicy] = {}
    if "window_source" in knobs:
        other = "history" if data.window_source == "candles" else "candles"
        wanted[f"windows of {other}"] = replace(data, window_source=other, features=())
    if "contradictions" in knobs:
        for fate in {"drop", "relabel"} - {data.contradictions}:
            wanted[f"contradictions: {fate}"] = replace(data, contradictions=fate)
    made: Datasets = {}
    left_out: dict[str, str] = {}
    for name, policy in wanted.items():
        try:
            made[name] = (policy, reread(policy))
        except (DataError, ConfigError) as error:
            left_out[name] = error.message
    return made, left_out


def _written(job: TrainingJob, directory: Path, datasets: Datasets) -> dict[str, Path]:
    """Write the data of each variant next to the job, which has its own data already."""
    places = {AS_SET: job.directory}
    for number, (name, (_, dataset)) in enumerate(datasets.items()):
        if name != AS_SET:
            places[name] = directory / str(number)
            names = dataset.feature_names
            variant = replace(job, directory=places[name], feature_names=names, champion=None)
            write_question(train_question(variant, dataset), variant.directory)
    directory.mkdir(exist_ok=True)
    return places


def _name_of(family: str, spec: TrainingSpec, knobs: tuple[str, ...], fingerprints: dict[str, str]) -> str:
    inputs = orjson.dumps([asdict(spec), knobs, fingerprints], option=orjson.OPT_SORT_KEYS)
    return f"{family}-{hashlib.sha256(inputs).hexdigest()[:24]}"


def _best(trials: tuple[Trial, ...], *, rejected_at: float) -> Trial | None:
    complete = [trial for trial in trials if trial.state == "complete" and trial.excess is not None]
    best = min(complete, key=lambda trial: float(str(trial.excess)), default=None)
    if best is None or best.excess is None or not best.excess <= min(0.0, rejected_at) - MIN_GAIN:
        return None
    return best
