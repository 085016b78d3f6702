"""A study of other settings, held by Optuna in a file of its own: it goes on where a killed one stopped.

Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019. Tries are pruned by
their validation log loss (median rule); the test part is never read.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from clm.clock import SystemClock
from clm.domain.job import EpochReport, TrainingSpec
from clm.domain.tuning import AS_SET, Trial, TuningJob, with_settings
from clm.errors import TrainingError
from clm.evaluation.metrics import base_log_loss
from clm.models.catalogue import architecture
from clm.questions.train import TrainInputs, read_training
from clm.questions.tune import Trials
from clm.training.determinism import make_deterministic
from clm.training.ensemble import fit_candidate
from clm.training.members import Material
from clm.training.windows import part_of, scaled_windows, scaler_of
from clm.training.work import Work

VARIANT = "variant"
FREE_TRIES = 2
"""Tries that the median rule leaves alone, so that there is a median."""
_KILLED = "killed"
"""Mark of a try whose process ended before it did: it is made again and does not count."""

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
"""Each takes its value from a try; a value that makes another network than the engine's is none of them."""

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
    """Answer the question `tune`; the answer is written again after each trial.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
    """
    climb(inputs, lambda trials: work.keep(Trials(trials=trials)))


def climb(job: TuningJob, keep: Callable[[tuple[Trial, ...]], None]) -> None:
    """Make the trials that are left within the time that is left, and give `keep` all of them after each one.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = {name: read_training(path) for name, path in job.variants.items()}
    study = _study(job)
    _resume(study)
    for first in FIRST_TRIES:
        asked = {name: value for name, value in first.items() if name in job.knobs}
        if "epochs" in asked:
            asked["epochs"] = max(job.spec.epochs, int(str(asked["epochs"])))
        study.enqueue_trial({**asked, VARIANT: list(data)[-1]}, skip_if_exists=True)
    clock = SystemClock()
    deadline = clock.monotonic() + job.budget_s
    keep(_trials(study))
    while len(_finished(study)) < job.trials and clock.monotonic() < deadline:
        _try_one(study, job, data, lambda: clock.monotonic() >= deadline)
        keep(_trials(study))


def _study(job: TuningJob) -> optuna.Study:
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{job.storage}", engine_kwargs={"connect_args": {"timeout": 30.0}}
    )
    study = optuna.create_study(
        storage=storage,
        study_name=job.study,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FREE_TRIES, n_warmup_steps=1),
    )
    # Another seed for each process: a study that goes on must not draw the same tries again.
    study.sampler = optuna.samplers.TPESampler(seed=job.spec.seed + len(study.trials), n_startup_trials=4)
    return study


def _resume(study: optuna.Study) -> None:
    """Close what a killed process left open and ask for the same try again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params)
        study._storage.set_trial_user_attr(trial._trial_id, _KILLED, True)  # there is no public way
        study.tell(trial.number, state=TrialState.FAIL)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    over = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return [trial for trial in study.get_trials(states=over) if _KILLED not in trial.user_attrs]


def _try_one(
    study: optuna.Study,
    job: TuningJob,
    data: Mapping[str, TrainInputs],
    late: Callable[[], bool],
) -> None:
    trial = study.ask()
    variant = trial.suggest_categorical(VARIANT, list(data))
    settings = {name: KNOBS[name](trial, job.spec) for name in job.knobs if name in KNOBS}
    spec = with_settings(job.spec, settings)
    began = SystemClock().monotonic()
    arrays = data[variant].arrays
    base = base_log_loss(arrays.label_N[arrays.validation])
    best: list[float] = []

    def watch(report: EpochReport) -> None:
        # A member of an ensemble is not what would be served: it decides nothing, it only takes time.
        if not report.network:
            best.append(report.validation_log_loss - base)
            trial.report(min(best), report.epoch)
        if late() or (not report.network and trial.should_prune()):
            raise optuna.TrialPruned

    state = TrialState.COMPLETE
    try:
        _fit(spec, data[variant], watch)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except TrainingError:  # NAN_LOSS: this try diverged, the next may not
        state = TrialState.FAIL
    trial.set_user_attr("settings", settings)
    trial.set_user_attr("epochs", len(best))
    trial.set_user_attr("excess", min(best, default=None))
    trial.set_user_attr("seconds", SystemClock().monotonic() - began)
    study.tell(trial, min(best) if state is TrialState.COMPLETE else None, state=state)


def _fit(spec: TrainingSpec, inputs: TrainInputs, watch: Callable[[EpochReport], None]) -> None:
    """Train as the run itself would, without export and without the test part."""
    of, arrays = inputs.job, inputs.arrays
    make_deterministic(spec.seed, spec.threads)
    chosen = architecture(spec.architecture).sized(len(of.feature_names))
    learnt = replace(arrays, scaler=scaler_of(arrays, spec.scaling))
    windows = scaled_windows(learnt, n_channels=chosen.n_features, context_length=of.context_length)
    parts = {"train": part_of(arrays, arrays.train), "validation": part_of(arrays, arrays.validation)}
    material = Material(architecture=chosen, windows=windows, parts=parts)
    fit_candidate(material, spec, watch, of.directory)


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
