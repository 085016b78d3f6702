"""A study of other settings, held by Optuna in a file of its own: it resumes where a killed one stopped.

Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019. Trials are pruned
by their validation log loss (median rule); the test part is never read.

Trials are made in batches of two. What a trial depends on is fixed before its batch begins: its settings,
drawn with a seed that counts finished trials, and the medians of the trials before. Results are reported in
the order of the batch after both have ended. So it changes nothing whether the two run at the same time, one
after the other, or again after a kill.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna.trial import FrozenTrial, TrialState

from clm.clock import SystemClock
from clm.domain.job import TrainingSpec
from clm.domain.tuning import AS_SET, Trial, TuningJob, with_settings
from clm.questions.trials import TrialRequest, TrialResult, TrialsJob
from clm.questions.tune import Trials
from clm.training.trials import Data, read_data, train_trials
from clm.training.work import Work

BATCH = 2
"""Trials that are drawn together."""
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
VARIANT = "variant"
FREE_TRIES = 2
"""Complete trials before the median rule prunes, so that there is a median."""
_KILLED = "killed"
"""Mark of a trial whose process ended before it did: it is made again and does not count."""

KNOBS: Mapping[str, Callable[[optuna.Trial, TrainingSpec], object]] = {
    "learning_rate": lambda trial, _: trial.suggest_float("learning_rate", 1e-4, 1e-3, log=True),
    "dropout": lambda trial, _: trial.suggest_float("dropout", 0.0, 0.4),
    "weight_decay": lambda trial, _: trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
    "label_smoothing": lambda trial, _: trial.suggest_float("label_smoothing", 0.0, 0.2),
    "epochs": lambda trial, spec: trial.suggest_int("epochs", min(spec.epochs, 30), 30),
    "scaling": lambda trial, _: trial.suggest_categorical("scaling", ["standard", "robust"]),
    "spread_weight": lambda trial, _: trial.suggest_categorical("spread_weight", [0.0, 0.1]),
    # Drawn from nothing: a network that missed what plain models see begins where they stand.
    "start": lambda _, __: "logistic",
}
"""Each takes its value from a trial; a value that makes another network than the engine's is none of them."""

FIRST_TRIES: tuple[Mapping[str, object], ...] = (
    {
        "learning_rate": 5e-4,
        "dropout": 0.1,
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
        "epochs": 15,
        "scaling": "standard",
        "spread_weight": 0.0,
    },
    {
        "learning_rate": 1e-4,
        "dropout": 0.2,
        "weight_decay": 0.05,
        "label_smoothing": 0.15,
        "epochs": 30,
        "scaling": "robust",
        "spread_weight": 0.1,
    },
)
"""What usually works, and what earlier reports advised; each as far as its knobs are turned."""


def answer(inputs: TuningJob, work: Work) -> None:
    """Answer the question `tune`; the answer is written again after each batch.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
    """
    climb(inputs, lambda trials: work.keep(Trials(trials=trials)))


def climb(job: TuningJob, keep: Callable[[tuple[Trial, ...]], None]) -> None:
    """Make the trials that are left within the time that is left; `keep` gets all of them after each batch.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = read_data(job.variants)
    study = _study(job)
    _resume(study)
    for first in FIRST_TRIES:
        asked = {name: value for name, value in first.items() if name in job.knobs}
        if "epochs" in asked:
            asked["epochs"] = max(job.spec.epochs, int(str(asked["epochs"])))
        study.enqueue_trial({**asked, VARIANT: list(data)[-1]}, skip_if_exists=True)
    clock = SystemClock()
    ends_at = clock.monotonic() + job.budget_s
    keep(_trials(study))
    while (left := job.trials - len(_finished(study))) > 0 and clock.monotonic() < ends_at:
        _try_batch(study, job, data, size=min(BATCH, left), ends_at=ends_at)
        keep(_trials(study))


def _study(job: TuningJob) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{job.storage}", engine_kwargs={"connect_args": {"timeout": 30.0}}
    )
    return optuna.create_study(storage=storage, study_name=job.study, load_if_exists=True)


def _resume(study: optuna.Study) -> None:
    """Close what a killed process left open and ask for the same trials again, in their order."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params)
        study._storage.set_trial_user_attr(trial._trial_id, _KILLED, True)  # there is no public way
        study.tell(trial.number, state=TrialState.FAIL)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [trial for trial in study.get_trials(states=over) if _KILLED not in trial.user_attrs]


def _try_batch(study: optuna.Study, job: TuningJob, data: Data, *, size: int, ends_at: float) -> None:
    finished = len(_finished(study))
    asked = [_draw(study, job, list(data), number=finished + place) for place in range(size)]
    with TemporaryDirectory(prefix="trials-", dir=job.directory) as place:
        batch = TrialsJob(
            directory=Path(place),
            variants=job.variants,
            batch=tuple(request for _, request, _ in asked),
            bars=_bars(study),
            ends_at=ends_at,
        )
        results = train_trials(batch, data)
    for (trial, _, settings), result in zip(asked, results, strict=True):
        _report(study, trial, settings, result)


def _draw(
    study: optuna.Study, job: TuningJob, variants: list[str], *, number: int
) -> tuple[optuna.Trial, TrialRequest, dict[str, object]]:
    # Another seed for each trial, and the same one for a trial that is made again.
    study.sampler = optuna.samplers.TPESampler(seed=job.spec.seed + number, n_startup_trials=4)
    trial = study.ask()
    variant = trial.suggest_categorical(VARIANT, variants)
    settings = {name: KNOBS[name](trial, job.spec) for name in job.knobs if name in KNOBS}
    return trial, TrialRequest(variant=variant, spec=with_settings(job.spec, settings)), settings


def _bars(study: optuna.Study) -> dict[str, float]:
    """Return the median excess of the complete trials by epoch, from the second epoch on."""
    complete = [trial.intermediate_values for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    if len(complete) < FREE_TRIES:
        return {}
    epochs = sorted({epoch for values in complete for epoch in values if epoch >= 1})
    return {
        str(epoch): statistics.median(values[epoch] for values in complete if epoch in values)
        for epoch in epochs
    }


def _report(
    study: optuna.Study, trial: optuna.Trial, settings: dict[str, object], result: TrialResult
) -> None:
    least = float("inf")
    for epoch, excess in zip(result.epochs, result.excess, strict=True):
        least = min(least, excess)
        trial.report(least, epoch)
    trial.set_user_attr("settings", settings)
    trial.set_user_attr("epochs", len(result.epochs))
    trial.set_user_attr("excess", min(result.excess, default=None))
    trial.set_user_attr("seconds", result.seconds)
    state = _STATES[result.state]
    study.tell(trial, least if state is TrialState.COMPLETE else None, state=state)


def _trials(study: optuna.Study) -> tuple[Trial, ...]:
    return tuple(_trial(trial) for trial in _finished(study))


def _trial(trial: FrozenTrial) -> Trial:
    attributes = trial.user_attrs
    excess = attributes.get("excess")
    return Trial(
        number=trial.number,
        state={"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed"),
        variant=trial.params.get(VARIANT, AS_SET),
        settings=attributes.get("settings", {}),
        excess=excess if excess is not None and math.isfinite(excess) else None,
        epochs=attributes.get("epochs", 0),
        seconds=attributes.get("seconds", 0.0),
    )
