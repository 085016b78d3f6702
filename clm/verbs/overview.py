"""The data of `clm status` and `clm runs`; nothing is created or changed."""

from clm.artefacts.records import RecordError, decode_line
from clm.artefacts.registry import DirectoryRegistry
from clm.bus.freeze_file import FreezeFile
from clm.clock import SystemClock, iso
from clm.engine.env_file import EnvFile, parse
from clm.errors import ClmError
from clm.evaluation.attempts import next_attempt
from clm.ports import Control
from clm.promotion.candidate import waiting
from clm.promotion.permission import withheld
from clm.questions.question import Files
from clm.questions.train import NAME as TRAIN
from clm.questions.train import Resumed, TrainProgress
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.migrate import has_schema
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.store.runs import SqliteJournal
from clm.store.tasks import SqliteTaskQueue
from clm.upkeep.disks import Disk, disk_of
from clm.upkeep.lock import holder

SHADOW = "shadow only"


def overview(settings: Settings) -> dict[str, object]:
    """Return the daemon's activity, the champion and what waits.

    Raises:
        DataError: the store breaks its contract.
    """
    check_contract(settings.store)
    clock = SystemClock()
    known = has_schema(settings.store)
    last = recent_runs(settings, 1)
    return {
        "daemon": holder(settings.lock_file) or "not running",
        "store": str(settings.store),
        "champion": _champion(settings),
        **_promotion(settings),
        "freeze": _freeze(settings),
        "attempts": attempts(settings),
        "open_promotion": _open_promotion(settings) if known else None,
        "last_run": last[0] if last else None,
        "training": _progress(settings, last),
        "tasks_waiting": SqliteTaskQueue(settings.store, clock).pending_count() if known else 0,
        "disk": ", ".join(str(disk) for disk in disks(settings)),
        "events_waiting": SqliteOutbox(settings.store, clock).waiting_count() if known else 0,
    }


def recent_runs(settings: Settings, limit: int) -> list[dict[str, object]]:
    """Return the latest runs, newest first; empty if there are none."""
    check_contract(settings.store)
    if not has_schema(settings.store):
        return []
    return [
        {
            "run_id": run.run_id,
            "status": run.status.value,
            "decision": run.decision,
            "version": run.version,
            "reason": run.reason,
            "started_at": iso(run.started_at),
            "completed_at": iso(run.completed_at) if run.completed_at else None,
            "proof": run.proof_path,
            "ledger_row": run.ledger_row,
        }
        for run in SqliteJournal(settings.store, SystemClock()).recent_runs(limit)
    ]


def attempts(settings: Settings) -> dict[str, object]:
    """Return the number of attempts against the champion, and the significance level of the next."""
    standing = SqliteJournal(settings.store, SystemClock()).standing()
    coming = next_attempt(standing.past, settings.bootstrap_confidence)
    return {
        "next": coming.number,
        "confidence": coming.confidence,
        "alpha": coming.alpha,
        "left": coming.left,
        "crowned": standing.champion,
        "crowned_at": standing.crowned_at,
        "ledger_rows": standing.rows,
        "ledger_broken": standing.broken_because,
    }


def ledger_row(settings: Settings, run_id: str) -> int | None:
    """Return the run's number in the ledger, or None if it has none or the store cannot be read."""
    try:
        run = SqliteJournal(settings.store, SystemClock()).run(run_id)
    except ClmError:
        return None
    return run.ledger_row if run else None


def _champion(settings: Settings) -> str | None:
    try:
        return parse(EnvFile(settings.engine_env_file).read().data).get(settings.line.model_key)
    except ClmError as error:
        return f"unknown: {error.message}"


def disks(settings: Settings) -> list[Disk]:
    """Return the file systems that we write to, each once."""
    found: dict[tuple[int, int], Disk] = {}
    for path in (settings.state_dir, settings.models_dir, settings.store.parent):
        disk = disk_of(path)
        found.setdefault((disk.total_bytes, disk.free_bytes // 1_000_000), disk)
    return list(found.values())


def _promotion(settings: Settings) -> dict[str, object]:
    """Return the champion's start, its controls, and what waits for an operator."""
    promotions = SqlitePromotionLog(settings.store, SystemClock())
    reigns = promotions.reigns()
    controls = {
        control: f"{found.value} since {found.since}: {found.reason}".strip()
        for control, found in promotions.controls().items()
    }
    registry = DirectoryRegistry(settings.artefacts_dir, line=settings.line)
    version = waiting(registry, promotions) if has_schema(settings.store) else None
    return {
        "champion_since": reigns[0].since if reigns else None,
        "engine_mode": _engine_mode(settings),
        "promotion_mode": _promotion_mode(settings, promotions),
        "paused": controls.get(Control.PAUSE),
        "pinned": controls.get(Control.PIN),
        "held": controls.get(Control.SUSPENDED),
        "candidate_waiting": version,
        "waiting_because": _waiting_because(settings, version) if version else None,
    }


def _waiting_because(settings: Settings, version: str) -> str:
    """Return why a model waits, as its run recorded it."""
    try:
        run_id = (
            DirectoryRegistry(settings.artefacts_dir, line=settings.line).manifest(version).lineage.run_id
        )
        run = SqliteJournal(settings.store, SystemClock()).run(run_id)
    except ClmError as error:
        return f"unknown: {error.message}"
    return run.reason if run else f"unknown: run {run_id} is not in the store"


def _freeze(settings: Settings) -> str:
    """Return the last known freeze without a request to Redis; `clm doctor` sends one."""
    known = FreezeFile(settings.freeze_file).read()
    if known is None:
        return "unknown: Redis has never replied; `clm doctor` checks it"
    seen = f", last seen {iso(known.seen_at)}" if known.seen_at else ""
    failing = f", no valid answer since {iso(known.failing_since)}" if known.failing_since else ""
    return f"{known.state.value}{known.cause and f': {known.cause}'}{seen}{failing}"


def _engine_mode(settings: Settings) -> str:
    try:
        variables = parse(EnvFile(settings.engine_env_file).read().data)
    except ClmError as error:
        return f"unknown: {error.message}"
    return SHADOW if settings.line.is_shadow_only(variables) else "live"


def _promotion_mode(settings: Settings, promotions: SqlitePromotionLog) -> str:
    """Return the effective mode: with a live engine, `auto` waits for an operator."""
    why = withheld(
        mode=settings.promotion_mode,
        promote_live=settings.promote_live,
        shadow_only=_engine_mode(settings) == SHADOW,
        shadow_key=settings.line.shadow_key,
        controls=promotions.controls(),
    )
    mode: str = settings.promotion_mode
    return f"{mode}; a model that passes waits for a person: {why}" if why else mode


def _open_promotion(settings: Settings) -> str | None:
    found = SqlitePromotionLog(settings.store, SystemClock()).open_promotion()
    return (
        f"{found.version} {found.state.value}: the next run or start brings it to its end" if found else None
    )


def _progress(settings: Settings, last: list[dict[str, object]]) -> str | None:
    """Return the training progress of the current run, or None without one."""
    if not last or last[0]["status"] != "running":
        return None
    directory = settings.runs_dir / str(last[0]["run_id"]) / "job"
    path = Files(directory=directory, name=TRAIN).progress
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        news = decode_line(TrainProgress, lines[-1]).news if lines else None
    except RecordError as error:
        return f"{path} cannot be read: {error}"
    if news is None:
        return "not begun"
    if isinstance(news, Resumed):
        return f"resumed after epoch {news.epoch}"
    network = f" of {news.network}" if news.network else ""
    return (
        f"epoch {news.epoch} of {news.epochs}{network}, validation log loss {news.validation_log_loss:.4f}, "
        f"AUROC {news.validation_auroc:.3f}"
    )
