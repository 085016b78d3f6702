"""Simulated runs, each with exactly one cause of a rejection, and the finding that must come first.

A run is the same as in the daemon: `run_cycle` with real audits, floor, training, gates, measurements and
probes. Only the child processes are missing; their work is done in this process.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
from torch import Tensor, nn

from clm.artefacts.golden import choose_golden
from clm.artefacts.registry import DirectoryRegistry
from clm.cycle import run_cycle
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy
from clm.data.floor import Floor, FloorPolicy, measure_floor
from clm.data.reading import RAW_COLUMNS, RawSamples
from clm.data.simulator import simulate
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.domain.line import DEFAULT_LINE
from clm.domain.measurement import LivePredictions
from clm.models import catalogue
from clm.models.engine import EngineConfig, EngineNetwork
from clm.ports import StopSignal
from clm.questions.floor import FloorInputs
from clm.questions.measure import MeasureInputs, Measurements
from clm.steps.diagnosis import diagnose
from clm.steps.results import Trained
from clm.steps.run import CycleReport
from clm.steps.world import Cycle, DiagnosisPolicy, Policies, Request, World
from clm.training import fit_state as standing
from clm.training.floor import MODELS
from clm.training.measure import Subject, measure_all
from clm.training.train import train_job
from tests import builders
from tests.builders import NOW
from tests.data.rows import text
from tests.fakes import FakeBrake, FakeClock, FakeJournal, FakePromoter, FakeSource, ScriptedAsker
from tests.training.jobs import read_job, write_job

Row = dict[str, object]
Rows = Sequence[Row]
Change = Callable[[Rows, np.random.Generator], Rows]

WORDS = "spread bought without skill"
VARIED = LivePredictions(answers=tuple(np.linspace(0.4, 0.8, 200)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One fault, and the finding that must be first."""

    finding: str
    rows: Change = lambda rows, rng: rows
    spec: Mapping[str, object] = field(default_factory=dict)
    world: Callable[[], AbstractContextManager[object]] = nullcontext
    live: LivePredictions = VARIED
    n_samples: int = 2400
    n_symbols: int = 3
    days: int = 120


class InProcess:
    """Trainer and measurements without child processes; it remembers its last training."""

    def __init__(self) -> None:
        self.last: tuple[TrainingJob, Dataset, TrainingResult] | None = None

    def train(
        self,
        job: TrainingJob,
        dataset: Dataset,
        on_epoch: Callable[[EpochReport], None],
        stop: StopSignal,
    ) -> TrainingResult:
        write_job(job, dataset)
        result = train_job(*read_job(job.directory), on_epoch)
        self.last = (job, dataset, result)
        return result

    def measure(self, inputs: MeasureInputs) -> Measurements:
        job, arrays = read_job(inputs.directory)
        subject = Subject(job=job, arrays=arrays, epochs=self.last[2].epochs)
        return Measurements(by_name=measure_all(subject, 600.0, lambda _found: None))


def _floor(inputs: FloorInputs) -> Floor:
    return measure_floor(inputs.rows, MODELS, inputs.policy)


def run(cause: Cause, seed: int, directory: Path, *, measure: bool = True) -> CycleReport:
    """Plant the cause in a simulated market and run one cycle on it."""
    samples = simulate(
        seed=seed, n_samples=cause.n_samples, until=NOW, n_symbols=cause.n_symbols, days=cause.days
    )
    rows = cause.rows([sample.as_row() for sample in samples], np.random.default_rng(seed))
    here = InProcess()
    world = World(
        line=DEFAULT_LINE,
        clock=FakeClock(),
        source=FakeSource(RawSamples(rows=[tuple(row[name] for name in RAW_COLUMNS) for row in rows])),
        trainer=here,
        registry=DirectoryRegistry(directory / "artefacts"),
        promoter=FakePromoter(),
        journal=FakeJournal(),
        brake=FakeBrake(),
        runs_dir=directory / "runs",
        code_version="test",
        asker=ScriptedAsker(floor=_floor, measure=here.measure),
        telemetry=SimpleNamespace(live_predictions=lambda: cause.live),
    )
    healthy = {"epochs": 3, "patience": 3, "learning_rate": 1e-3}
    policies = Policies(
        history_days=0,
        max_rows=100_000,
        data=builders.data_policy(),
        audit=AuditPolicy(min_samples=200, max_bad_share=0.05, max_staleness_days=14),
        training=builders.training_spec(**{**healthy, **cause.spec}),
        train_timeout_s=600,
        evaluation=builders.evaluation_policy(),
        gates=builders.gate_policy(),
        promote=False,
        floor=FloorPolicy(block_h=24.0, embargo_h=1.0),
        load_check=False,
        diagnosis=DiagnosisPolicy(budget_s=60.0 if measure else 0.0),
    )
    with cause.world():
        request = Request(task=None, reason="a test", stop=threading.Event(), on_epoch=lambda _: None)
        report = run_cycle(world, policies, request)
        if report.pack.diagnosis is None and here.last:  # diagnose a run that was not rejected, too
            cycle = Cycle(world=world, policies=policies, request=request, run=None)
            again = replace(report.pack, diagnosis=_diagnosed(cycle, here, report))
            report = replace(report, pack=again)
    return report


def _diagnosed(cycle: Cycle, here: InProcess, report: CycleReport) -> object:
    job, dataset, training = here.last
    write_job(job, dataset)
    job.directory.joinpath("model.pth").write_bytes(report.pack.artefact.model_path.read_bytes())
    trained = Trained(
        job=job,
        dataset=dataset,
        training=training,
        golden=choose_golden(dataset, training.p_candidate_N),
    )
    judged = SimpleNamespace(trained=trained, verdicts=report.pack.verdicts)
    data = SimpleNamespace(findings=report.pack.findings, floor=report.pack.floor)
    return diagnose(cycle, SimpleNamespace(judged=judged), data)


def each(change: Callable[[Row], Row]) -> Change:
    """Return a change that applies to every row."""
    return lambda rows, rng: [{**row, **change(row)} for row in rows]


def features(change: Callable[[Row, dict[str, float]], Mapping[str, float]]) -> Callable[[Row], Row]:
    """Return a change of a row from a change of its features by name."""

    def one(row: Row) -> Row:
        named = dict(zip(json.loads(row["feature_names"]), json.loads(row["features"]), strict=True))
        changed = change(row, named)
        return {"features": json.dumps([*changed.values()]), "feature_names": json.dumps([*changed])}

    return one


def one_an_hour(rows: Rows) -> Rows:
    """Keep one trade per symbol and hour; two that differ only in side and label are another fault."""
    return list({(row["symbol"], row["timestamp"]): row for row in rows}.values())


def shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    """Permute the outcomes within each side, so the labels are random.

    Keep one trade per symbol and hour; two that differ only in their label are another fault.
    """
    rows = one_an_hour(rows)
    made = [dict(row) for row in rows]
    for side in ("BUY", "SELL"):
        mine = [n for n, row in enumerate(rows) if row["execution_side"] == side and row["exit_price"]]
        for place, other in zip(mine, rng.permutation(mine), strict=True):
            drawn = rows[other]
            made[place] |= {name: drawn[name] for name in ("target_class", "target_label", "realized_pnl")}
            gain = drawn["exit_price"] / drawn["entry_price"]
            made[place]["exit_price"] = made[place]["entry_price"] * gain
    return made


def ended(row: Row, wins: bool) -> Row:
    """Return consistent outcome columns of a trade; empty if it is still open."""
    if not row["exit_price"]:
        return {}
    side = 1 if row["execution_side"] == "BUY" else -1
    return {
        "target_class": "WIN" if wins else "LOSS",
        "realized_pnl": 0.52 if wins else -1.88,
        "exit_price": row["entry_price"] * (1 + side * (0.006 if wins else -0.018)),
    }


def by_a_coin(rows: Rows, rng: np.random.Generator) -> Rows:
    """Draw random labels, half of them wins; one trade per symbol and hour, as in `shuffled`."""
    rows = one_an_hour(rows)
    return [{**row, **ended(row, bool(rng.random() < 0.5))} for row in rows]


def tiled(rows: Rows, rng: np.random.Generator) -> Rows:
    """Repeat the first features of each symbol in every row."""
    seen: dict[object, dict[str, float]] = {}
    return each(features(lambda row, named: seen.setdefault(row["symbol"], named)))(rows, rng)


def four_copied(row: Row, named: dict[str, float]) -> Mapping[str, float]:
    """Return four features, each under two names."""
    four = [named[name] for name in ("rsi", "volatility", "returns_1h", "volume_ratio")]
    return dict(zip(named, [*four, *four], strict=True))


def contradicting(row: Row) -> Row:
    """Contradict the profit in every tenth outcome."""
    if row["id"] % 10 or row["target_class"] not in ("WIN", "LOSS"):
        return {}
    return {"realized_pnl": -1.3 if row["target_class"] == "WIN" else 1.3}


def ignoring_side(row: Row) -> Row:
    """Label a trade WIN if the market rose, regardless of its side."""
    if not row["exit_price"]:
        return {}
    rose = row["exit_price"] > row["entry_price"]
    return {"target_class": "WIN" if rose else "LOSS", "realized_pnl": 0.5 if rose else -1.9}


def regimes(rows: Rows, rng: np.random.Generator) -> Rows:
    """Make the outcome depend on the five-day period, with a feature that identifies the period."""
    days = sorted({row["timestamp"][:10] for row in rows})
    stretch_of = {day: number // 5 for number, day in enumerate(days)}
    n_stretches = max(stretch_of.values()) + 1
    won, mark = rng.permutation(np.arange(n_stretches) % 2 == 0), rng.permutation(n_stretches)
    made = []
    for row in rows:
        stretch = stretch_of[row["timestamp"][:10]]

        def marked(row: Row, named: dict[str, float], stretch: int = stretch) -> Mapping[str, float]:
            drawn = dict(zip(named, rng.normal(size=len(named)), strict=True))
            return {**drawn, "rsi": float(mark[stretch]) + 0.05 * rng.normal()}

        wins = bool(won[stretch]) ^ (rng.random() < 0.15)
        made.append({**row, **ended(row, wins), **features(marked)(row)})
    return made


@contextmanager
def shallow_copy() -> Iterator[None]:
    """Keep references to the current weights as the best epoch, so training continues to change them."""
    with mock.patch.object(standing, "copy", SimpleNamespace(deepcopy=dict)):
        yield


class PatchNorm(nn.Module):
    """Subtract from each patch the mean over the patches of its window."""

    def forward(self, h_BPD: Tensor) -> Tensor:
        return h_BPD - h_BPD.mean(dim=1, keepdim=True)


class NormalisesOverTheWindow(EngineNetwork):
    """The engine's network with a normalisation after its first layer."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.norm = PatchNorm()

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BPF = x_BLC.reshape(x_BLC.shape[0], self.config.n_patches, -1)
        h_BPD = self.norm(self.patch_embedding(x_BPF)) + self.pos_encoding
        return self.output_proj(self.transformer(self.dropout(h_BPD)).mean(dim=1)).squeeze(-1)


@contextmanager
def normalising() -> Iterator[None]:
    """Replace the engine's architecture with a normalising one."""
    engine, *others = catalogue.ARCHITECTURES
    other = replace(engine, draw=lambda dropout, _: NormalisesOverTheWindow(EngineConfig(dropout=dropout)))
    with mock.patch.object(catalogue, "ARCHITECTURES", (other, *others)):
        yield


HEALTHY = Cause(
    finding="",
    rows=lambda rows, rng: one_an_hour(rows),
    spec={"epochs": 5, "start": "logistic"},
    n_samples=6000,
    n_symbols=5,
    days=180,
)

CAUSES: Mapping[str, Cause] = {
    "windows of one repeated row": Cause(finding="constant_windows", rows=tiled),
    "features as they are": Cause(finding="features_unscaled", spec={"scaling": "none"}),
    "a normalisation over the window": Cause(finding="static_inputs_erased", world=normalising),
    "labels drawn from a hat": Cause(finding="no_skill", rows=shuffled),
    "four features copied to eight": Cause(finding="duplicated_features", rows=each(features(four_copied))),
    "a missing feature filled with 0": Cause(
        finding="zero_filled_features",
        rows=each(features(lambda row, f: {**f, "volume_ratio": 0.0} if row["id"] % 5 == 0 else f)),
    ),
    "outcomes against the profit": Cause(finding="outcome_contradicts_pnl", rows=each(contradicting)),
    "SELLs labelled like BUYs": Cause(finding="label_ignores_side", rows=each(ignoring_side)),
    "the profit under another name": Cause(
        finding="feature_knows_outcome",
        rows=each(
            features(lambda row, f: {**f, "macd": (row["realized_pnl"] or 0.0) + 0.3 * np.sin(row["id"])})
        ),
    ),
    "regimes that a shuffle remembers": Cause(finding="time_leak", rows=regimes),
    "a learning rate of 0.1": Cause(finding="learning_rate_too_high", spec={"learning_rate": 0.1}),
    "spread paid for with 0.1": Cause(
        finding="spread_bought_without_skill", rows=by_a_coin, spec={"spread_weight": 0.1}
    ),
    "spread paid for with 1.0": Cause(
        finding="spread_bought_without_skill", rows=by_a_coin, spec={"spread_weight": 1.0}
    ),
    "a best epoch that goes on training": Cause(
        finding="best_epoch_not_restored",
        spec={  # long enough, with a high rate, so the last epoch is not the best one
            "learning_rate": 2e-3,
            "epochs": 6,
            "patience": 6,
            "dropout": 0.0,
            "label_smoothing": 0.0,
            "batch_size": 32,
        },
        world=shallow_copy,
    ),
    "an engine that repeats one price": Cause(
        finding="serving_input_constant", live=LivePredictions(answers=(0.6150280237197876,) * 200)
    ),
    "no samples any more": Cause(
        finding="stale_store",
        rows=lambda rows, rng: [r for r in rows if r["timestamp"] < text(NOW - timedelta(days=20))],
    ),
}
