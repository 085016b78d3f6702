"""`clm walkforward`: train and judge at past cuts of time; a finished cut is kept and not repeated.

Nothing is registered or promoted, and the ledger is not written: a cut judges the settings, not a model.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from clm.artefacts.code import code_hash
from clm.artefacts.files import remove_directory, remove_durably, translated
from clm.artefacts.records import RecordError, read_record, write_record
from clm.clock import SystemClock
from clm.data.audits import Severity, audit, blocked
from clm.data.dataset import Dataset
from clm.domain.job import TrainingJob
from clm.domain.ledger import PastAttempts
from clm.errors import DataError, Interrupted, UsageError
from clm.evaluation.evidence import evidence_of
from clm.evaluation.walk_forward import CutPlan, CutResult, cut_times
from clm.ports import StopSignal, Trainer
from clm.settings import Settings
from clm.steps.read import read_dataset
from clm.steps.world import Policies
from clm.store.contract import check_contract
from clm.store.memory import available_bytes
from clm.store.samples import SqliteSampleSource
from clm.upkeep.lock import single_instance
from clm.wiring import candles_of, policies, trainer_of

SUFFIX = ".cut.json"
_JOB = "job-"


@dataclass(frozen=True, slots=True, kw_only=True)
class CutDone:
    """A cut, and whether its result was kept from an earlier run."""

    result: CutResult
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What each cut is made with."""

    settings: Settings
    policies: Policies
    trainer: Trainer
    stop: StopSignal
    failed: threading.Event = field(default_factory=threading.Event)
    """Set when a cut fails; no further cut begins."""


def walk_forward(
    settings: Settings,
    plan: CutPlan,
    *,
    stop: StopSignal,
    on_cut: Callable[[CutDone], None],
    at_once: int = 2,
    trainer: Trainer | None = None,
) -> tuple[CutResult, ...]:
    """Return the results of all cuts, oldest first; `on_cut` gets each one when it is done.

    If a cut fails, those under way are completed and kept, and no further one begins.

    Raises:
        UsageError: NO_CUTS, the plan has none.
        DataError: the store or the candles cannot be read.
        TrainingError: those of every child.
        ArtefactError: a result cannot be written.
        AlreadyRunning: another `clm walkforward` works in the same state directory.
        Interrupted: `stop` was set.
    """
    cuts = cut_times(plan)
    if not cuts:
        raise UsageError("NO_CUTS", "there is no cut between --from and --to; move one of them")
    check_contract(settings.store)
    walk = _Walk(
        settings=settings,
        policies=policies(settings),
        trainer=trainer or trainer_of(settings),
        stop=stop,
    )
    place, found = settings.walk_forward_dir, dict[datetime, CutResult]()
    with translated(f"cannot make {place}"):
        place.mkdir(parents=True, exist_ok=True)
    with single_instance(place / "lock", "clm walkforward"), _pool(_at_once(settings, at_once)) as pool:
        for left in place.glob(f"{_JOB}*"):  # of a run that was killed
            remove_directory(left)
        # The threads only wait for their children, which the kernel ends with the thread that started them.
        waiting: list[Future[CutDone]] = [pool.submit(_attempted, walk, cut) for cut in cuts]
        for future in as_completed(waiting):
            done = future.result()
            found[done.result.cut] = done.result
            on_cut(done)
    return tuple(found[cut] for cut in cuts)


def newest_sample(settings: Settings) -> datetime:
    """Return when the newest sample was decided.

    Raises:
        DataError: the store cannot be read, or has no sample.
    """
    check_contract(settings.store)
    newest = SqliteSampleSource(settings.store).newest()
    if newest is None:
        raise DataError("STORE_EMPTY", f"{settings.store} has no sample, so there is nothing to train on")
    return newest


def children_at_once(settings: Settings, available: Callable[[], int | None] = available_bytes) -> int:
    """Return how many trainings fit on the cores and into the memory, at least 1."""
    cores, free = len(os.sched_getaffinity(0)), available()
    if not settings.train_memory_mb or free is None:
        return max(1, cores)
    return max(1, min(cores, free // (settings.train_memory_mb * 1_000_000)))


def _at_once(settings: Settings, asked: int) -> int:
    return min(asked, children_at_once(settings))


@contextmanager
def _pool(at_once: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max_workers=at_once)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _attempted(walk: _Walk, cut: datetime) -> CutDone:
    if walk.stop.is_set() or walk.failed.is_set():
        raise Interrupted("STOPPING", "asked to stop; the cuts that are done are kept")
    try:
        return _one_cut(walk, cut)
    except BaseException:
        walk.failed.set()
        raise


def _one_cut(walk: _Walk, cut: datetime) -> CutDone:
    """Return the kept result if it is of the same data, settings and code; else train, judge and keep."""
    clock = SystemClock()
    began = clock.monotonic()
    # A source of its own for each thread; without the cache, which is the daemon's.
    source = SqliteSampleSource(walk.settings.store)
    dataset = read_dataset(source, candles_of(walk.settings), walk.policies, cut)
    if why := _refusal(dataset, walk.policies, cut):
        return CutDone(result=CutResult(cut=cut, key="", refused_because=why), kept=False)
    key = key_of(dataset, walk.policies)
    path = walk.settings.walk_forward_dir / f"{cut:%Y-%m-%d_%H%M%S}{SUFFIX}"
    if kept := _kept(path, key):
        return CutDone(result=kept, kept=True)
    result = _trained(walk, cut, dataset, key, lambda: clock.monotonic() - began)
    write_record(path, result)
    return CutDone(result=result, kept=False)


def _refusal(dataset: Dataset, policies: Policies, cut: datetime) -> str:
    """Return why a cycle at the cut would not have trained; empty if it would."""
    findings = audit(dataset, policies.audit, cut)
    if not blocked(findings):
        return ""
    return next(finding.message for finding in findings if finding.severity is Severity.BLOCK)


def key_of(dataset: Dataset, policies: Policies) -> str:
    """Return the hash of everything that the predictions of a cut depend on."""
    inputs = {
        "code": code_hash(),
        "data": dataset.fingerprint,
        "features": dataset.feature_names,
        "training": policies.training,
    }
    return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _kept(path: Path, key: str) -> CutResult | None:
    """Return the result of an earlier run; one that is torn or of other inputs is removed."""
    if not path.exists():
        return None
    try:
        result = read_record(CutResult, path)
    except RecordError:
        result = None
    if result and result.key == key:
        return result
    for old in (path, path.with_suffix(".npz")):
        remove_durably(old)
    return None


def _trained(
    walk: _Walk, cut: datetime, dataset: Dataset, key: str, seconds: Callable[[], float]
) -> CutResult:
    with TemporaryDirectory(prefix=_JOB, dir=walk.settings.walk_forward_dir) as place:
        job = TrainingJob(
            run_id=f"walkforward_{cut:%Y%m%d}",
            directory=Path(place),
            spec=walk.policies.training,
            context_length=dataset.context_length,
            feature_names=dataset.feature_names,
            champion=None,
            timeout_s=walk.policies.train_timeout_s,
        )
        training = walk.trainer.train(job, dataset, lambda _: None, walk.stop)
    split, policy = dataset.split, walk.policies.evaluation
    return CutResult(
        cut=cut.astimezone(UTC),
        key=key,
        windows={name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        evidence=evidence_of(dataset, training, policy=policy, past=PastAttempts(), serving=None),
        best_epoch=training.best_epoch,
        notes={name: training.notes[name] for name in ("calibration", "trees") if name in training.notes},
        seconds=seconds(),
    )
