"""After a rejection with a repairable cause: tries on validation alone, of which the best is a candidate."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from clm.data.dataset import DataPolicy, Dataset
from clm.diagnosis import Diagnosis, knobs_for
from clm.domain.job import TrainingJob, TrainingResult, TrainingSpec
from clm.domain.ledger import LedgerEntry, LedgerKind
from clm.domain.tuning import AS_SET, Trial, Tuning, TuningJob, with_settings
from clm.errors import ArtefactError, ConfigError, DataError
from clm.evaluation.metrics import base_log_loss
from clm.ports import StopSignal, Tuner
from clm.questions.question import write_question
from clm.questions.train import train_question

MIN_GAIN = 0.001
"""Nats of validation log loss that a try has to save to be worth a look at the test part."""

FIXED = {"patch size, depth": "an architecture is one network with its sizes; CLM_ARCHITECTURE takes another"}

Reread = Callable[[DataPolicy], Dataset]
"""The same store under another policy of windows or labels, audited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the tries propose; it has never seen a test row."""

    spec: TrainingSpec
    data: DataPolicy
    dataset: Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How many tries there may be, for how long, and where their study is kept."""

    tuner: Tuner | None = None
    """None where nothing is to be tried."""
    trials: int = 0
    budget_s: float = 0.0
    storage: Path = Path()
    family: str = ""
    """Model family; the name of each study starts with it."""

    def climb(
        self,
        job: TrainingJob,
        dataset: Dataset,
        training: TrainingResult,
        data: DataPolicy,
        diagnosis: Diagnosis,
        reread: Reread,
        stop: StopSignal,
    ) -> tuple[Tuning, Candidate | None]:
        """Return what was tried, and the best try where it beats the base rate and what was rejected.

        Raises:
            Interrupted: `stop` was set; the study goes on the next time.
        """
        knobs = knobs_for(diagnosis)
        if self.tuner is None or not self.trials or not self.budget_s:
            return Tuning(knobs=knobs, because="CLM_TUNE_TRIALS=0 or CLM_TUNE_BUDGET_S=0"), None
        if not knobs:
            return Tuning(because=_why_not(diagnosis)), None
        directory = job.directory.with_name("tuning")
        variants, left_out = _variants(data, knobs, reread)
        datasets = {AS_SET: (data, dataset), **variants}
        try:
            places = _written(job, directory, datasets)
        except ArtefactError as error:
            return Tuning(knobs=knobs, because=error.message), None
        asked = TuningJob(
            run_id=job.run_id,
            directory=directory,
            study=_study(
                self.family, job.spec, knobs, {name: of.fingerprint for name, (_, of) in datasets.items()}
            ),
            storage=self.storage,
            spec=job.spec,
            knobs=knobs,
            variants=places,
            trials=self.trials,
            budget_s=self.budget_s,
        )
        trials, why = self.tuner.tune(asked, stop)
        tuning = Tuning(knobs=knobs, trials=trials, because=why, left_out={**FIXED, **left_out})
        label_N = dataset.label_N[dataset.split.validation]
        losses = (epoch.validation_log_loss for epoch in training.epochs)
        best = _best(trials, rejected_at=min(losses, default=float("inf")) - base_log_loss(label_N))
        if best is None:
            because = why or "no try beats the base rate, and what was rejected, on validation"
            return replace(tuning, because=because), None
        policy, chosen = datasets[best.variant]
        candidate = Candidate(spec=with_settings(job.spec, best.settings), data=policy, dataset=chosen)
        return replace(tuning, best=best.number), candidate


def entries(run_id: str, tuning: Tuning) -> list[LedgerEntry]:
    """Return a row of the ledger for each try; only the one that is to be judged on test is an attempt."""
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


def _variants(
    data: DataPolicy, knobs: tuple[str, ...], reread: Reread
) -> tuple[dict[str, tuple[DataPolicy, Dataset]], dict[str, str]]:
    """Return what else the store can be read as, and why some of it cannot."""
    wanted: dict[str, DataPolicy] = {}
    if "window_source" in knobs:
        other = "history" if data.window_source == "candles" else "candles"
        wanted[f"windows of {other}"] = replace(data, window_source=other, features=())
    if "contradictions" in knobs:
        for fate in {"drop", "relabel"} - {data.contradictions}:
            wanted[f"contradictions: {fate}"] = replace(data, contradictions=fate)
    made: dict[str, tuple[DataPolicy, Dataset]] = {}
    left_out: dict[str, str] = {}
    for name, policy in wanted.items():
        try:
            made[name] = (policy, reread(policy))
        except (DataError, ConfigError) as error:
            left_out[name] = error.message
    return made, left_out


def _written(
    job: TrainingJob, directory: Path, datasets: dict[str, tuple[DataPolicy, Dataset]]
) -> dict[str, Path]:
    """Write the data of each variant beside the job, whose own data lies there already."""
    places = {AS_SET: job.directory}
    for number, (name, (_, dataset)) in enumerate(datasets.items()):
        if name != AS_SET:
            places[name] = directory / str(number)
            names = dataset.feature_names
            variant = replace(job, directory=places[name], feature_names=names, champion=None)
            write_question(train_question(variant, dataset), variant.directory)
    directory.mkdir(exist_ok=True)
    return places


def _study(family: str, spec: TrainingSpec, knobs: tuple[str, ...], fingerprints: dict[str, str]) -> str:
    told = orjson.dumps([asdict(spec), knobs, fingerprints], option=orjson.OPT_SORT_KEYS)
    return f"{family}-{hashlib.sha256(told).hexdigest()[:24]}"


def _best(trials: tuple[Trial, ...], *, rejected_at: float) -> Trial | None:
    complete = [trial for trial in trials if trial.state == "complete" and trial.excess is not None]
    best = min(complete, key=lambda trial: float(str(trial.excess)), default=None)
    if best is None or best.excess is None or not best.excess <= min(0.0, rejected_at) - MIN_GAIN:
        return None
    return best
