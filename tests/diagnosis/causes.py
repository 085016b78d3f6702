"""Simulated runs with exactly one cause of a rejection each, and the finding that has to come first."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
from torch import Tensor, nn

from clm.artefacts.job_files import read_job, write_job
from clm.data.audits import audit, blocked, with_floor
from clm.data.dataset import Dataset, build_dataset
from clm.data.findings import AuditPolicy
from clm.data.reading import RAW_COLUMNS, RawSamples, parse_samples
from clm.data.signal import SignalPolicy, measure_signal, signal_rows
from clm.data.simulator import simulate
from clm.decision import DecisionKind, decide
from clm.diagnosis import Diagnosis, Evidence, LivePredictions, ProbePolicy, diagnose
from clm.domain.job import TrainingJob, TrainingSpec
from clm.evaluation.evaluate import compare, rows_of
from clm.evaluation.metrics import base_log_loss
from clm.gates.catalogue import judge
from clm.models import catalogue
from clm.models.patchtst import PatchTST, PatchTSTConfig
from clm.training import loop
from clm.training.measurements import Subject, measure_all
from clm.training.run import train_job
from clm.training.signal import MODELS
from tests import builders
from tests.builders import NOW
from tests.data.rows import text

Row = dict[str, object]
Rows = Sequence[Row]

SIGNAL = 1.0
N_SAMPLES = 2400
N_SYMBOLS = 3
DAYS = 120


def healthy_rows(seed: int, n_samples: int = N_SAMPLES, n_symbols: int = N_SYMBOLS) -> Rows:
    """A store with a strong signal and nothing wrong."""
    samples = simulate(
        seed=seed, n_samples=n_samples, until=NOW, n_symbols=n_symbols, days=DAYS, signal=SIGNAL
    )
    return [sample.as_row() for sample in samples]


def healthy_spec() -> TrainingSpec:
    """A training that learns that signal within seconds."""
    return builders.training_spec(epochs=4, patience=4, batch_size=64, learning_rate=5e-4)


def dataset_of(rows: Rows) -> Dataset:
    """The rows cut into windows by the project's own code."""
    raw = RawSamples(rows=[tuple(row[name] for name in RAW_COLUMNS) for row in rows])
    return build_dataset(parse_samples(raw, cutoff=NOW, features=()), builders.data_policy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong, and the finding that has to name it first."""

    finding: str
    rows: Callable[[Rows, np.random.Generator], Rows] = lambda rows, rng: rows
    dataset: Callable[[Dataset, np.random.Generator], Dataset] = lambda dataset, rng: dataset
    spec: Mapping[str, object] = field(default_factory=dict)
    store: Mapping[str, int] = field(default_factory=dict)
    world: Callable[[], AbstractContextManager[object]] = nullcontext
    live: LivePredictions | None = None
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a planted run."""

    decision: DecisionKind
    diagnosis: Diagnosis
    gates: Mapping[str, str]


def run(cause: Cause, seed: int, directory: Path) -> Outcome:
    """Go the way of a cycle: audits, floor, a real training, gates, measurements, probes."""
    rng = np.random.default_rng(seed)
    dataset = cause.dataset(dataset_of(cause.rows(healthy_rows(seed, **cause.store), rng)), rng)
    policy = AuditPolicy(min_samples=200, max_bad_share=0.05, max_staleness_days=14)
    findings = audit(dataset, policy, NOW)
    spec = replace(healthy_spec(), **cause.spec)
    if blocked(findings):
        return Outcome(decision=DecisionKind.REFUSED, diagnosis=_of_audits(findings), gates={})
    signal_policy = SignalPolicy(block_h=24.0, embargo_h=1.0)
    floor = measure_signal(signal_rows(dataset, signal_policy), MODELS, signal_policy)
    findings = with_floor(findings, floor, policy)
    job = TrainingJob(
        run_id="p07_20260102_030405_0badcafe",
        directory=directory,
        spec=spec,
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        champion=None,
        timeout_s=600,
    )
    write_job(job, dataset)
    job, arrays = read_job(directory)
    with cause.world():
        training = train_job(job, arrays, lambda _: None)
        measured = measure_all(Subject(job=job, arrays=arrays, epochs=training.epochs), 600.0)
    comparison = compare(
        rows_of(dataset),
        p_candidate_N=training.p_candidate_N,
        p_champion_N=None,
        champion_absent_because="there is none",
        p_logistic_N=training.p_logistic_N,
        base_rate=dataset.base_rate,
        policy=builders.evaluation_policy(),
    )
    verdicts = judge(comparison, builders.gate_policy())
    evidence = Evidence(
        spec=spec,
        findings=findings,
        floor=floor,
        training=training,
        verdicts=verdicts,
        validation_base_log_loss=base_log_loss(dataset.label_N[dataset.split.validation]),
        measured=measured,
        live=cause.live or LivePredictions(answers=tuple(rng.random(200))),
    )
    return Outcome(
        decision=decide(verdicts).kind,
        diagnosis=diagnose(evidence, ProbePolicy()),
        gates={verdict.name: str(verdict.status) for verdict in verdicts},
    )


def _of_audits(findings):
    from clm.diagnosis import _of_audit

    return Diagnosis(answers=tuple(_of_audit(f) for f in findings))


def each(change: Callable[[Row], Row]) -> Callable[[Rows, np.random.Generator], Rows]:
    return lambda rows, rng: [{**row, **change(row)} for row in rows]


def features(change: Callable[[Row, dict[str, float]], Mapping[str, float]]) -> Callable[[Row], Row]:
    def one(row: Row) -> Row:
        named = dict(zip(json.loads(row["feature_names"]), json.loads(row["features"]), strict=True))
        changed = change(row, named)
        return {"features": json.dumps([*changed.values()]), "feature_names": json.dumps([*changed])}

    return one


def _tiled(rows: Rows, rng: np.random.Generator) -> Rows:
    """The old script's windows: each symbol's first row again and again."""
    seen: dict[object, dict[str, float]] = {}
    return each(features(lambda row, named: seen.setdefault(row["symbol"], named)))(rows, rng)


def _shuffled(dataset: Dataset, rng: np.random.Generator) -> Dataset:
    return replace(dataset, label_N=rng.permutation(dataset.label_N))


def _four_copied(row: Row, named: dict[str, float]) -> Mapping[str, float]:
    four = [named[name] for name in ("rsi", "volatility", "returns_1h", "volume_ratio")]
    return dict(zip(named, [*four, *four], strict=True))


def _contradicting(row: Row) -> Row:
    if row["id"] % 10 or row["target_class"] not in ("WIN", "LOSS"):
        return {}
    return {"realized_pnl": -1.3 if row["target_class"] == "WIN" else 1.3}


def _ignoring_side(row: Row) -> Row:
    if not row["exit_price"]:
        return {}
    rose = row["exit_price"] > row["entry_price"]
    return {"target_class": "WIN" if rose else "LOSS", "realized_pnl": 0.5 if rose else -1.9}


def _regimes(rows: Rows, rng: np.random.Generator) -> Rows:
    """Outcomes that belong to the week, and a feature that says which week it is, and nothing more."""
    weeks = sorted({row["timestamp"][:10] for row in rows})
    week_of = {day: number // 5 for number, day in enumerate(weeks)}
    n_weeks = max(week_of.values()) + 1
    won = rng.permutation(np.arange(n_weeks) % 2 == 0)
    mark = rng.permutation(n_weeks).astype(float)

    def change(row: Row) -> Row:
        week = week_of[row["timestamp"][:10]]
        wins = bool(won[week]) ^ (rng.random() < 0.15)
        out = {"target_class": "WIN" if wins else "LOSS", "realized_pnl": 0.52 if wins else -1.88}
        if not row["exit_price"]:
            out = {}
        return {
            **out,
            **features(
                lambda _, named: {
                    name: (mark[week] + 0.05 * rng.normal() if name == "rsi" else rng.normal())
                    for name in named
                }
            )(row),
        }

    return [{**row, **change(row)} for row in rows]


def _stale(rows: Rows, rng: np.random.Generator) -> Rows:
    return [row for row in rows if row["timestamp"] < text(NOW - timedelta(days=20))]


@contextmanager
def _shallow_copy() -> Iterator[None]:
    """The bug of the old script: what is kept as the best epoch goes on training."""
    with mock.patch.object(loop, "copy", SimpleNamespace(deepcopy=dict)):
        yield


class NormalisesOverPatches(PatchTST):
    """The engine's network with a normalisation over the window behind its first layer."""

    class PatchNorm(nn.Module):
        """Takes from each patch what all patches of its window share."""

        def forward(self, h_BPD: Tensor) -> Tensor:
            return h_BPD - h_BPD.mean(dim=1, keepdim=True)

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__(config)
        self.norm = self.PatchNorm()

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BPF = x_BLC.reshape(x_BLC.shape[0], self.config.n_patches, -1)
        h_BPD = self.norm(self.patch_embedding(x_BPF)) + self.pos_encoding
        return self.output_proj(self.transformer(self.dropout(h_BPD)).mean(dim=1)).squeeze(-1)


@contextmanager
def _normalising() -> Iterator[None]:
    (engine,) = catalogue.ARCHITECTURES
    other = replace(engine, build=lambda dropout: NormalisesOverPatches(PatchTSTConfig(dropout=dropout)))
    with mock.patch.object(catalogue, "ARCHITECTURES", (other,)):
        yield


def _static(rows: Rows, rng: np.random.Generator) -> Rows:
    """Features that hold still over a window and differ between windows..."""
    return rows


CAUSES: Mapping[str, Cause] = {
    "windows of one repeated row": Cause(finding="constant_windows", rows=_tiled),
    "features as they are": Cause(finding="features_unscaled", spec={"scaling": "none"}),
    "labels without signal": Cause(finding="no_skill", dataset=_shuffled),
    "four features copied to eight": Cause(finding="duplicated_features", rows=each(features(_four_copied))),
    "a missing feature filled with 0": Cause(
        finding="zero_filled_features",
        rows=each(features(lambda row, f: {**f, "volume_ratio": 0.0} if row["id"] % 5 == 0 else f)),
    ),
    "outcomes against the profit": Cause(finding="outcome_contradicts_pnl", rows=each(_contradicting)),
    "SELLs labelled like BUYs": Cause(finding="label_ignores_side", rows=each(_ignoring_side)),
    "the profit under another name": Cause(
        finding="feature_knows_outcome",
        rows=each(
            features(lambda row, f: {**f, "macd": (row["realized_pnl"] or 0.0) + 0.3 * np.sin(row["id"])})
        ),
    ),
    "regimes that a shuffle remembers": Cause(finding="time_leak", rows=_regimes),
    "a learning rate of 0.1": Cause(finding="learning_rate_too_high", spec={"learning_rate": 0.1}),
    "spread paid for, little": Cause(
        finding="spread_bought_without_skill",
        dataset=_shuffled,
        spec={"spread_weight": 0.1},
        says="spread bought without skill",
    ),
    "spread paid for, dear": Cause(
        finding="spread_bought_without_skill",
        dataset=_shuffled,
        spec={"spread_weight": 1.0},
        says="spread bought without skill",
    ),
    "a best epoch that goes on training": Cause(
        finding="best_epoch_not_restored",
        spec={"learning_rate": 2e-3, "epochs": 5, "patience": 5, "dropout": 0.0},
        world=_shallow_copy,
    ),
    "a normalisation over the window": Cause(finding="static_inputs_erased", world=_normalising),
    "an engine that repeats one price": Cause(
        finding="serving_input_constant", live=LivePredictions(answers=(0.6150280237197876,) * 200)
    ),
    "no samples any more": Cause(finding="stale_store", rows=_stale),
}
