"""How good the networks are, on the rows of one store: every way with several seeds, beside plain models.

    python benchmarks/accuracy.py --store PATH [--seeds N] [--only NAME ...] [--ablations] [--json]

The store is cut into windows and parts as the daemon would with its default settings, and every network is
trained with them. What is told of the validation part is what choices were made by; the test part is read
once, with what was chosen. Plain models look at the last step of each window, and are fitted on the training
part: logistic regression, and boosted trees whose number of rounds the validation part chooses.

Figures are means over the seeds: AUROC, log loss in nats, expected calibration error in ten bins of equal
mass, and how far log loss is from that of logistic regression on the same rows.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from clm.clock import SystemClock
from clm.data.dataset import Dataset
from clm.domain.job import TrainingSpec
from clm.evaluation.metrics import auroc, ece, log_loss_rows
from clm.models.catalogue import Architecture, architecture
from clm.models.patchtst_mix import MixConfig, PatchTSTMix
from clm.questions.train import TrainingArrays, training_arrays
from clm.settings.derived import Settings
from clm.steps.read import read_dataset
from clm.store.samples import SqliteSampleSource
from clm.training.determinism import make_deterministic
from clm.training.loop import fit
from clm.training.plain import fit_logistic
from clm.training.predict import logits, p_win
from clm.training.start import begin
from clm.training.windows import part_of, scaled_windows
from clm.wiring import policies

ROUNDS = 200
"""Of the boosted trees, at most."""


@dataclass(frozen=True)
class Way:
    """An architecture with what is changed of the default settings."""

    architecture: Architecture
    settings: Mapping[str, object]


def mix(**switches: object) -> Architecture:
    """Return our architecture with other switches."""
    usual = architecture("patchtst-mix")
    return replace(
        usual, draw=lambda dropout, n: PatchTSTMix(MixConfig(n_channels=n, dropout=dropout, **switches))
    )


def ways() -> dict[str, Way]:
    """Return the networks as they are offered, and the engine's without its start."""
    offered = {name: Way(architecture(name), {}) for name in ("engine", "patchtst", "patchtst-mix")}
    return offered | {"engine, begun anywhere": Way(architecture("engine"), {"start": "random"})}


def ablations() -> dict[str, Way]:
    """Return what is left where one choice is taken back."""
    engine = {
        "class weights off": {"class_weights": False},
        "label smoothing off": {"label_smoothing": 0.0},
        "dropout off": {"dropout": 0.0},
        "dropout 0.2": {"dropout": 0.2},
        "learning rate 2e-4": {"learning_rate": 2e-4},
        "learning rate 1e-3": {"learning_rate": 1e-3},
        "weight decay 0.1": {"weight_decay": 0.1},
        "batch 128": {"batch_size": 128},
        "16 epochs": {"epochs": 16},
        "weights averaged": {"swa_from": 0.5},
    }
    switches = {
        "no last step": {"last_step": False},
        "no hidden layer on it": {"last_step_hidden": 0},
        "no static token": {"static_token": False},
        "mean pooling": {"attention_pooling": False},
        "post-norm": {"pre_norm": False},
        "channels apart": {"mix_channels": False},
    }
    known = {name: change for name, change in engine.items() if set(change) <= set(TrainingSpec.__slots__)}
    return {
        **{f"engine, {name}": Way(architecture("engine"), change) for name, change in known.items()},
        "mix, begun anywhere": Way(mix(), {"start": "random"}),
        **{
            f"mix, {name}": Way(mix(**change), {"start": "random"} if "last_step" in change else {})
            for name, change in switches.items()
        },
    }


def dataset_of(store: Path, settings: Settings) -> Dataset:
    """Return the data set of a store, when all its outcomes are known."""
    source = SqliteSampleSource(store)
    newest = source.newest()
    if newest is None:
        raise SystemExit(f"{store} holds no sample")
    return read_dataset(source, None, policies(settings), newest + timedelta(days=30))


def figures(arrays: TrainingArrays, p_validation_N: np.ndarray, p_test_N: np.ndarray) -> dict[str, float]:
    """Return the figures of one model on both parts."""
    validation_N, test_N = arrays.label_N[arrays.validation], arrays.label_N[arrays.test]
    return {
        "validation_log_loss": float(log_loss_rows(validation_N, p_validation_N).mean()),
        "validation_auroc": auroc(validation_N, p_validation_N),
        "test_log_loss": float(log_loss_rows(test_N, p_test_N).mean()),
        "test_auroc": auroc(test_N, p_test_N),
        "test_ece": ece(test_N, p_test_N),
        "test_std": float(p_test_N.std()),
    }


def trained(way: Way, arrays: TrainingArrays, spec: TrainingSpec) -> dict[str, float]:
    """Train once and return the figures of the calibrated network, and seconds of the processor."""
    chosen = way.architecture.sized(arrays.features_RC.shape[1])
    make_deterministic(spec.seed, spec.threads)
    windows = scaled_windows(arrays, n_channels=chosen.n_features, context_length=chosen.context_length)
    began = time.process_time()
    train = part_of(arrays, arrays.train)
    model = begin(chosen, windows, train, spec)
    fitted = fit(model, windows, train, part_of(arrays, arrays.validation), spec, lambda _: None)
    seconds = time.process_time() - began
    model.load_state_dict(fitted.state)
    calibration = fitted.calibration

    def answers(part: np.ndarray) -> np.ndarray:
        logit_N = logits(model, windows, torch.from_numpy(arrays.name_N[part]))
        return p_win(calibration.slope * logit_N + calibration.intercept)

    found = figures(arrays, answers(arrays.validation), answers(arrays.test))
    return {**found, "best_epoch": fitted.best_epoch, "cpu_s": seconds}


def plain_models(arrays: TrainingArrays) -> dict[str, dict[str, float]]:
    """Return the figures of models of the last step."""
    train_NC, validation_NC, test_NC = (
        arrays.scaler.apply(arrays.last_steps(part))
        for part in (arrays.train, arrays.validation, arrays.test)
    )
    label_N = arrays.label_N
    regression = fit_logistic(train_NC, label_N[arrays.train])
    trees = HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        early_stopping=False,
        random_state=0,
    ).fit(train_NC, label_N[arrays.train])
    staged = [p_N2[:, 1] for p_N2 in trees.staged_predict_proba(validation_NC)]
    rounds = int(np.argmin([log_loss_rows(label_N[arrays.validation], p_N).mean() for p_N in staged]))
    test_staged = [p_N2[:, 1] for p_N2 in trees.staged_predict_proba(test_NC)]
    return {
        "logistic regression": figures(
            arrays, regression.predict_proba(validation_NC)[:, 1], regression.predict_proba(test_NC)[:, 1]
        ),
        f"boosted trees, {rounds + 1} rounds": figures(arrays, staged[rounds], test_staged[rounds]),
    }


def measure(
    store: Path, seeds: int, chosen: Mapping[str, Way], say: Callable[[str], None]
) -> dict[str, dict[str, object]]:
    """Return the figures of all ways by name."""
    settings = Settings()
    spec = settings.training_spec()
    arrays = training_arrays(dataset_of(store, settings))
    report: dict[str, dict[str, object]] = {**plain_models(arrays)}
    line = report["logistic regression"]["test_log_loss"]
    for name, found in report.items():
        say(told(name, found, line))
    for name, way in chosen.items():
        runs = [
            trained(way, arrays, replace(spec, seed=seed, **way.settings)) for seed in range(1, seeds + 1)
        ]
        means: dict[str, object] = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
        report[name] = {**means, "seeds": runs}
        say(told(name, means, line))
    return report


def told(name: str, found: Mapping[str, object], line: object) -> str:
    """Return one line of the table."""
    behind = found["test_log_loss"] - line
    return (
        f"{name:32} validation {found['validation_log_loss']:.4f} {found['validation_auroc']:.4f}  "
        f"test {found['test_log_loss']:.4f} ({behind:+.4f}) {found['test_auroc']:.4f}  "
        f"ECE {found['test_ece']:.3f}  std {found['test_std']:.3f}"
        + (f"  epoch {found['best_epoch']:.1f}  {found['cpu_s']:.0f} s" if "cpu_s" in found else "")
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description="How good the networks are on the rows of one store.")
    parser.add_argument("--store", type=Path, help="SQLite store; without one there is nothing to measure")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="names, or beginnings of names, of ways")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, the table on stderr")
    asked = parser.parse_args(arguments)
    if asked.store is None:
        print("accuracy: skipped, it needs a store with real outcomes: --store PATH")
        return 0
    chosen = {**ways(), **(ablations() if asked.ablations else {})}
    if asked.only:
        chosen = {name: way for name, way in chosen.items() if name.startswith(tuple(asked.only))}
    out = sys.stderr if asked.json else sys.stdout
    began = SystemClock().monotonic()
    report = measure(asked.store, asked.seeds, chosen, lambda text: print(text, file=out, flush=True))
    print(f"{SystemClock().monotonic() - began:.0f} s", file=out)
    if asked.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
