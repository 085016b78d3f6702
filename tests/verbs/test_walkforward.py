"""Walk-forward: a cut knows what was settled then, and a cut that is done is done."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clm.clock import to_micros
from clm.data.dataset import Dataset
from clm.data.simulator import simulate
from clm.domain.job import TrainingJob, TrainingResult
from clm.errors import AlreadyRunning, Interrupted, TrainingError, UsageError
from clm.evaluation.walk_forward import CutPlan, CutResult
from clm.ports import StopSignal
from clm.report.walk_forward import document, lines
from clm.settings import Settings
from clm.store.create import create_store, insert_samples
from clm.upkeep.lock import single_instance
from clm.verbs import walkforward
from clm.verbs.walkforward import CutDone, children_at_once, newest_sample, walk_forward
from tests import builders
from tests.cli.test_verbs import clm
from tests.fakes import FakeTrainer, oracle

END = datetime(2025, 12, 20, tzinfo=UTC)
CUTS = tuple(datetime(2025, month, 1, tzinfo=UTC) for month in (10, 11, 12))
PLAN = CutPlan(cuts=3, until=END)
ROWS = tuple(sample.as_row() for sample in simulate(seed=3, n_samples=4000, until=END, n_symbols=2, days=240))


class PastTrainer(FakeTrainer):
    """Trains at once, and keeps the data sets that it was given by the day of the cut."""

    def __init__(self, at_job: Callable[[TrainingJob], None] = lambda job: None) -> None:
        super().__init__(predict=oracle(1.2))
        self.seen: dict[str, Dataset] = {}
        self.at_job = at_job

    def train(
        self, job: TrainingJob, dataset: Dataset, on_epoch: Callable[..., None], stop: StopSignal
    ) -> TrainingResult:
        self.at_job(job)
        self.seen[job.run_id] = dataset
        return replace(super().train(job, dataset, on_epoch, stop), p_trees_N=oracle(0.4, seed=98)(dataset))


def settings_in(directory: Path, rows: Iterable[Mapping[str, object]] = ROWS, **changes: object) -> Settings:
    """Return settings with a store of these rows."""
    directory.mkdir(exist_ok=True)
    store = directory / "store.db"
    if not store.exists():
        create_store(store)
        insert_samples(store, rows)
    values = {
        "store": store,
        "state_dir": directory / "state",
        "min_samples": 200,
        "bootstrap_replicates": 100,
    }
    return Settings(**{**values, **changes})


def walk(
    settings: Settings, trainer: PastTrainer, *, plan: CutPlan = PLAN, stop: StopSignal | None = None
) -> tuple[tuple[CutResult, ...], list[CutDone]]:
    """Return the results, and what was reported on the way."""
    done: list[CutDone] = []
    results = walk_forward(
        settings, plan, stop=stop or threading.Event(), on_cut=done.append, at_once=1, trainer=trainer
    )
    return results, done


def predictions(results: Iterable[CutResult]) -> list[list[float]]:
    return [one.evidence.p_candidate_N.tolist() for one in results if one.evidence]


def with_a_planted_future(rows: Iterable[Mapping[str, object]], cut: datetime) -> list[dict[str, object]]:
    """Return the rows with what happened after the cut turned round: outcomes, features, and new rows."""
    text = f"{cut:%Y-%m-%d %H:%M:%S.%f}"
    planted = []
    for row in rows:
        spoilt = dict(row)
        if str(row["timestamp"]) > text:
            spoilt["features"] = json.dumps([9.9] * len(json.loads(str(row["features"]))))
        if row["exit_time"] is not None and str(row["exit_time"]) > text:
            spoilt["target_class"] = "LOSS" if row["target_class"] == "WIN" else "WIN"
            spoilt["realized_pnl"] = -float(str(row["realized_pnl"]))
            spoilt["exit_price"] = 2 * float(str(row["entry_price"])) - float(str(row["exit_price"]))
        planted.append(spoilt)
    return planted


@pytest.mark.parametrize("cut", CUTS)
def test_no_cut_sees_what_came_after_it(tmp_path: Path, cut: datetime) -> None:
    """Rows of later, and outcomes that were open at the cut, are turned round: nothing may change."""
    planted = with_a_planted_future(ROWS, cut)
    open_at_cut = sum(
        str(row["timestamp"]) <= f"{cut:%Y-%m-%d %H:%M:%S.%f}" and row != was
        for row, was in zip(planted, ROWS, strict=True)
    )
    assert open_at_cut > 0, "a trade has to be open at the cut"
    plain, spoilt = PastTrainer(), PastTrainer()
    plan = CutPlan(cuts=1, until=cut)
    ((honest,), _), ((same,), _) = (
        walk(settings_in(tmp_path / name, rows), trainer, plan=plan)
        for name, rows, trainer in (("plain", ROWS, plain), ("planted", planted, spoilt))
    )
    (dataset,), (other,) = plain.seen.values(), spoilt.seen.values()
    assert dataset.fingerprint == other.fingerprint
    assert predictions([honest]) == predictions([same])
    for part in (dataset.split.train, dataset.split.validation, dataset.split.test):
        row_N = dataset.row_N[part]
        assert len(row_N) > 0
        assert dataset.table.decided_at_R[row_N].max() <= to_micros(cut)
        assert dataset.table.resolved_at_R[row_N].max() <= to_micros(cut)


def test_the_history_of_a_cut_goes_back_from_the_cut(tmp_path: Path) -> None:
    """CLM_HISTORY_DAYS before the newest sample would leave an old cut with nothing."""
    trainer = PastTrainer()
    walk(settings_in(tmp_path, history_days=150), trainer, plan=CutPlan(cuts=1, until=CUTS[0]))
    (dataset,) = trainer.seen.values()
    first = dataset.table.decided_at_R.min()
    assert abs(first - to_micros(CUTS[0] - timedelta(days=150))) < 2 * 86_400_000_000


def test_each_cut_is_judged_by_the_gates_and_compared_with_plain_models(tmp_path: Path) -> None:
    """The report has every figure of every cut, and means with intervals."""
    settings = settings_in(tmp_path)
    results, _ = walk(settings, PastTrainer())
    assert [one.cut for one in results] == list(CUTS)
    found = document(results, settings.evaluation_policy(), settings.gate_policy())
    assert [cut["cut"][:10] for cut in found["cuts"]] == ["2025-10-01", "2025-11-01", "2025-12-01"]
    for cut in found["cuts"]:
        assert cut["log_loss"].keys() == cut["auroc"].keys() == {"candidate", "logistic", "trees"}
        minus = cut["log_loss"]["candidate"] - cut["log_loss"]["logistic"]
        assert cut["log_loss_minus_logistic"] == pytest.approx(minus)
        assert cut["gates"]["skill"] == "PASS"
        assert cut["windows"]["test"] > 50
        assert cut["net_return_per_trade"].keys() >= {"value", "low", "high"}
    mean = found["mean"]
    assert mean["candidate_minus_logistic"]["value"] == pytest.approx(
        np.mean([cut["log_loss_minus_logistic"] for cut in found["cuts"]])
    )
    assert mean["candidate_minus_logistic"]["low"] < mean["candidate_minus_logistic"]["high"]
    assert found["worst_minus_logistic"] == max(cut["log_loss_minus_logistic"] for cut in found["cuts"])
    shown = list(lines(json.loads(json.dumps(found))))
    assert max(map(len, shown)) <= 80
    assert sum(line.startswith("2025-") for line in shown) == 3


def test_a_finished_cut_is_not_trained_again(tmp_path: Path) -> None:
    """Its result is read from the disk, bit for bit."""
    settings = settings_in(tmp_path)
    first, _ = walk(settings, PastTrainer())
    again = PastTrainer()
    second, done = walk(settings, again, plan=replace(PLAN, cuts=4))
    assert [one.kept for one in sorted(done, key=lambda d: d.result.cut)] == [False, True, True, True]
    assert list(again.seen) == ["walkforward_20250901"]
    assert predictions(second[1:]) == predictions(first)


def touch_a_row(settings: Settings, patched: pytest.MonkeyPatch) -> Settings:
    """Add a sample of before all cuts."""
    row = {**ROWS[0], "id": 10**6}
    row["timestamp"] = row["entry_time"] = "2025-08-01 00:00:00.000000"
    row["exit_time"] = "2025-08-01 01:00:00.000000"
    insert_samples(settings.store, [row])
    return settings


def tear(settings: Settings, patched: pytest.MonkeyPatch) -> Settings:
    """Cut the results short."""
    for path in settings.walk_forward_dir.glob("*.npz"):
        os.truncate(path, 1000)
    return settings


CHANGES: dict[str, Callable[[Settings, pytest.MonkeyPatch], Settings]] = {
    "a setting": lambda settings, _: settings.model_copy(update={"seed": 8}),
    "the data": touch_a_row,
    "the code": lambda settings, patched: patched.setattr(walkforward, "code_hash", lambda: "x") or settings,
    "a torn result": tear,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_of_other_inputs_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Figures of several settings, stores or versions in one table would compare nothing."""
    settings = settings_in(tmp_path)
    walk(settings, PastTrainer())
    again = PastTrainer()
    _, done = walk(CHANGES[change](settings, monkeypatch), again)
    assert [one.kept for one in done] == [False] * 3
    assert len(again.seen) == 3
    assert len(list(settings.walk_forward_dir.glob("*.cut.json"))) == 3
    assert [path.name for path in settings.walk_forward_dir.iterdir() if path.is_dir()] == []


def test_judging_by_other_bars_trains_nothing(tmp_path: Path) -> None:
    """The predictions are kept, and gates and costs are applied when they are reported."""
    settings = settings_in(tmp_path)
    walk(settings, PastTrainer())
    dearer = settings.model_copy(update={"fee_bps": 50.0, "max_ece": 0.0})
    results, done = walk(dearer, PastTrainer())
    assert all(one.kept for one in done)
    found = document(results, dearer.evaluation_policy(), dearer.gate_policy())
    plain = document(results, settings.evaluation_policy(), settings.gate_policy())
    net, cheaper = (one["mean"]["net_return_per_trade"]["value"] for one in (found, plain))
    assert net == pytest.approx(cheaper - 2 * (50.0 - settings.fee_bps) * 1e-4)


def test_a_cut_that_fails_keeps_the_others(tmp_path: Path) -> None:
    """The next run repeats only what is missing."""

    def fail(job: TrainingJob) -> None:
        if job.run_id.endswith("1101"):
            raise TrainingError("CHILD_OOM", "killed")

    settings = settings_in(tmp_path)
    with pytest.raises(TrainingError, match="killed"):
        walk(settings, PastTrainer(fail))
    again = PastTrainer()
    _, done = walk(settings, again)
    assert sorted(one.result.cut for one in done if one.kept) == [CUTS[0]]
    assert sorted(again.seen) == ["walkforward_20251101", "walkforward_20251201"]


def test_a_stop_request_ends_it_and_keeps_what_is_done(tmp_path: Path) -> None:
    """SIGTERM must not cost the hours of the cuts that are done."""
    stop = threading.Event()
    settings = settings_in(tmp_path)
    done: list[CutDone] = []

    def show(one: CutDone) -> None:
        done.append(one)
        stop.set()

    with pytest.raises(Interrupted):
        walk_forward(settings, PLAN, stop=stop, on_cut=show, at_once=1, trainer=PastTrainer())
    late = PastTrainer()
    with pytest.raises(Interrupted):
        walk(settings, late, stop=stop)
    assert late.seen == {}, "no further cut begins"
    _, again = walk(settings, PastTrainer())
    assert sum(one.kept for one in again) >= 1


def test_a_cut_with_too_few_samples_is_refused_and_reported(tmp_path: Path) -> None:
    """The others are trained; its line says why it was not."""
    settings = settings_in(tmp_path, min_samples=3000)
    results, _ = walk(settings, PastTrainer(), plan=CutPlan(cuts=4, until=END))
    assert [bool(one.evidence) for one in results] == [False, False, False, True]
    found = document(results, settings.evaluation_policy(), settings.gate_policy())
    assert found["cuts"][0]["decision"] == "REFUSED"
    assert "need 3,000" in found["cuts"][0]["refused_because"]
    assert found["cuts"][0].keys() == found["cuts"][-1].keys()
    assert "REFUSED" in list(lines(found))[2]
    wordy = [replace(one, refused_because="too few " * 40) for one in results[:2]]
    nothing = document(wordy, settings.evaluation_policy(), settings.gate_policy())
    assert (nothing["mean"], nothing["worst_minus_logistic"]) == (None, None)
    assert max(map(len, lines(nothing))) <= 80


def test_a_plan_without_cuts_is_a_usage_error(tmp_path: Path) -> None:
    """An empty table would look like a result."""
    with pytest.raises(UsageError, match="NO_CUTS"):
        walk(settings_in(tmp_path), PastTrainer(), plan=replace(PLAN, since=END))


def test_one_walk_forward_at_a_time(tmp_path: Path) -> None:
    """A second one would remove the files of the first one's children."""
    settings = settings_in(tmp_path)
    settings.walk_forward_dir.mkdir(parents=True)
    with (
        single_instance(settings.walk_forward_dir / "lock", "clm walkforward"),
        pytest.raises(AlreadyRunning),
    ):
        walk(settings, PastTrainer())


def test_as_many_trainings_as_fit(tmp_path: Path) -> None:
    """Cores and memory limit them; one always runs, and its own budget then decides."""
    settings = settings_in(tmp_path, train_memory_mb=2000)
    cores = len(os.sched_getaffinity(0))
    assert children_at_once(settings, lambda: 10**12) == cores
    assert children_at_once(settings, lambda: 4_100_000_000) == min(2, cores)
    assert children_at_once(settings, lambda: 3_900_000_000) == 1
    assert children_at_once(settings, lambda: 1000) == 1
    assert children_at_once(settings, lambda: None) == cores
    assert children_at_once(settings.model_copy(update={"train_memory_mb": 0}), lambda: 1) == cores


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core trains one at a time")
def test_two_cuts_are_trained_at_a_time(tmp_path: Path) -> None:
    """Never more than asked for."""
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2, timeout=20)

    def work(job: TrainingJob) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not job.run_id.endswith("1201"):
            both.wait()
        time.sleep(0.05)
        with lock:
            running -= 1

    walk_forward(
        settings_in(tmp_path),
        PLAN,
        stop=threading.Event(),
        on_cut=lambda _: None,
        at_once=2,
        trainer=PastTrainer(work),
    )
    assert most == 2


def test_the_newest_sample_is_the_end_of_a_plan_without_one(tmp_path: Path) -> None:
    """A store that is not fed any more has cuts too."""
    settings = settings_in(tmp_path, ROWS)
    assert END - timedelta(days=2) < newest_sample(settings) <= END


def store_of_the_past(directory: Path) -> Path:
    """Make a store with a small, learnable market."""
    store = directory / "store.db"
    create_store(store)
    rows = simulate(seed=3, n_samples=3000, until=builders.NOW, n_symbols=2, days=240)
    insert_samples(store, (sample.as_row() for sample in rows))
    return store


@pytest.mark.slow
def test_a_killed_walk_forward_goes_on_where_it_was(tmp_path: Path) -> None:
    """Real children, real SIGKILL: the cut that was done is kept, the others are trained."""
    store = store_of_the_past(tmp_path)
    root = tmp_path / "root"
    arguments = ["walkforward", "--store", str(store), "--cuts", "3", "--at-once", "1", "--json"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "CLM_ROOT": str(root),
        "CLM_TRAINING__EPOCHS": "2",
        "CLM_EVALUATION__REPLICATES": "200",
    }
    process = subprocess.Popen([sys.executable, "-m", "clm", *arguments], env=environment)
    try:
        deadline = time.monotonic() + 120
        while not list(root.rglob("*.cut.json")):
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    (kept,) = list(root.rglob("*.cut.json"))
    before = kept.stat().st_mtime_ns
    (kept.parent / "job-of-a-killed-run").mkdir()
    done = clm(root, *arguments)
    assert done.returncode == 0, done.stderr
    assert kept.stat().st_mtime_ns == before
    assert done.stderr.count("kept") == 1
    assert [path for path in kept.parent.iterdir() if path.is_dir()] == []
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer.keys() == {"store", "cuts", "mean", "worst_minus_logistic", "intervals"}
    assert [cut["gates"]["parity"] for cut in answer["cuts"]] == ["DEFER"] * 3
    assert all(cut["log_loss"]["trees"] > 0 for cut in answer["cuts"])
    assert answer["cuts"][0]["notes"]["trees"].keys() == {"depth", "rounds", "validation_log_loss"}
    text = clm(root, *arguments[:-1]).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "minus" in text
