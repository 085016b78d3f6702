"""The composition root: settings in, adapters out. The only place that knows every part."""

import socket
import threading
from dataclasses import dataclass

import redis

import clm
from clm.artefacts.registry import DirectoryRegistry, names_in
from clm.bus.brake import RedisBrake
from clm.bus.client import connect
from clm.bus.freeze_file import FreezeFile
from clm.bus.relay import OutboxRelay
from clm.bus.telemetry import RedisTelemetry
from clm.children.ask import SubprocessAsker
from clm.children.trainer import SubprocessTrainer
from clm.clock import SystemClock
from clm.data.audits import AuditPolicy
from clm.data.dataset import DataPolicy
from clm.data.floor import FloorPolicy
from clm.domain.architecture import KNOWN
from clm.errors import Interrupted
from clm.ports import Brake, CandleSource, Clock, Outbox, StopSignal
from clm.promotion.promoter import EnvFilePromoter
from clm.settings import Settings, inherited_environment, redis_password
from clm.steps.world import DiagnosisPolicy, Policies, TuningPolicy, World
from clm.store.candle_files import CandleDirectory
from clm.store.contract import check_contract
from clm.store.controls import SqliteControls
from clm.store.migration_child import migrate_in_child
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.store.runs import SqliteJournal
from clm.store.sample_cache import SampleCache
from clm.store.samples import SqliteSampleSource
from clm.store.tasks import SqliteTaskQueue
from clm.upkeep.brakes import Brakes, PauseBrake
from clm.upkeep.disks import DiskBrake
from clm.upkeep.retention import KeptFiles, Records, Retention, RetentionPolicy
from clm.wiring_engine import promotion_policy, served_engine_of

START_BUSY_LIMIT_S = 20.0
"""Well below TimeoutStartSec, which covers everything before READY."""
QUEUE_BUSY_LIMIT_S = 8.0
"""The main thread and the bus show life between looks at the store: a held lock must not starve
the watchdog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """Everything the daemon or a verb works with."""

    settings: Settings
    clock: SystemClock
    queue: SqliteTaskQueue
    outbox: SqliteOutbox
    journal: SqliteJournal
    registry: DirectoryRegistry
    log: SqlitePromotionLog
    promoter: EnvFilePromoter
    retention: Retention
    world: World
    policies: Policies


class StoppableClock(SystemClock):
    """A clock whose sleep ends with Interrupted when the daemon is to stop."""

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop

    def sleep(self, seconds: float) -> None:
        """Wait, or raise Interrupted."""
        if self._stop.wait(seconds):
            raise Interrupted("STOPPING", "the daemon is to stop; what is open is resumed at the next start")


def wire(
    settings: Settings,
    *,
    stop: StopSignal | None = None,
    promote: bool = True,
    root: socket.socket | None = None,
) -> Wired:
    """Check the store's contract, bring our tables up to date, and connect the parts.

    `root` is a connection to the switch's helper that was made by root.

    Raises:
        DataError: the store breaks its contract.
        ConfigError: SCHEMA_NEWER, STATE_DIR.
    """
    check_contract(settings.store)
    migrate_in_child(settings.store, environment=inherited_environment(), busy_limit_s=START_BUSY_LIMIT_S)
    clock = StoppableClock(stop or threading.Event())
    registry = DirectoryRegistry(
        settings.artefacts_dir, line=settings.line, taken=names_in(settings.models_dir)
    )
    journal = SqliteJournal(settings.store, clock)
    promotions = SqlitePromotionLog(settings.store, clock)
    keys = redis_brake_of(settings)
    promoter = EnvFilePromoter(
        served=served_engine_of(settings, root=root),
        registry=registry,
        log=promotions,
        clock=clock,
        policy=promotion_policy(settings),
        freeze=keys.freeze,
    )
    return Wired(
        settings=settings,
        clock=clock,
        queue=SqliteTaskQueue(settings.store, clock, busy_limit_s=QUEUE_BUSY_LIMIT_S),
        outbox=SqliteOutbox(settings.store, clock, busy_limit_s=QUEUE_BUSY_LIMIT_S),
        journal=journal,
        registry=registry,
        log=promotions,
        promoter=promoter,
        retention=retention_of(settings, registry, promotions, clock),
        world=_world(settings, clock, registry, journal, promoter, keys),
        policies=policies(settings, promote=promote),
    )


def _world(
    settings: Settings,
    clock: Clock,
    registry: DirectoryRegistry,
    journal: SqliteJournal,
    promoter: EnvFilePromoter,
    keys: Brake,
) -> World:
    """Return what a cycle works with; `keys` reads the trading system's freeze keys."""
    return World(
        line=settings.line,
        clock=clock,
        source=SqliteSampleSource(settings.store, cache=sample_cache_of(settings)),
        asker=asker_of(settings),
        trainer=trainer_of(settings),
        registry=registry,
        promoter=promoter,
        journal=journal,
        brake=brake_of(settings, keys),
        runs_dir=settings.runs_dir,
        code_version=clm.__version__,
        candles=CandleDirectory(settings.candles_dir),
        telemetry=telemetry_of(settings),
    )


def retention_of(
    settings: Settings, registry: DirectoryRegistry, promotions: SqlitePromotionLog, clock: Clock
) -> Retention:
    """Return who makes room."""
    return Retention(
        served=served_engine_of(settings),
        kept=KeptFiles(
            registry=registry, runs_dir=settings.runs_dir, checkpoints_dir=settings.checkpoints_dir
        ),
        records=Records(
            promotions=promotions,
            journal=SqliteJournal(settings.store, clock),
            outbox=SqliteOutbox(settings.store, clock, busy_limit_s=QUEUE_BUSY_LIMIT_S),
        ),
        clock=clock,
        policy=RetentionPolicy(
            artefact_days=settings.keep_models_days,
            run_days=settings.keep_runs_days,
            event_days=settings.keep_events_days,
            disk_mark=settings.disk_mark,
        ),
    )


def sample_cache_of(settings: Settings) -> SampleCache | None:
    """Return where settled samples are kept, None where nothing is to be kept."""
    if not settings.sample_cache:
        return None
    return SampleCache(settings.sample_cache_dir, max_age_h=settings.sample_cache_max_age_h)


def policies(settings: Settings, *, promote: bool = True) -> Policies:
    """Return what the operator decided, in the words of the cycle."""
    facts = KNOWN[settings.architecture]
    return Policies(
        history_days=settings.history_days,
        max_rows=settings.max_rows,
        data=DataPolicy(
            context_length=settings.line.context_length,
            target=settings.target,
            features=settings.features,
            split=settings.split_policy(),
            window_source=settings.window_source,
            contradictions=settings.contradictions,
        ),
        audit=AuditPolicy(
            min_samples=settings.min_samples,
            max_bad_share=settings.max_bad_share,
            max_staleness_days=settings.max_staleness_days,
            max_features=facts.max_features,
            erases_levels=facts.erases_levels,
            history_days=settings.history_days,
            block_without_skill=settings.signal_floor == "block",
        ),
        training=settings.training_spec(),
        train_timeout_s=settings.train_timeout_s,
        evaluation=settings.evaluation_policy(),
        gates=settings.gate_policy(),
        promote=promote,
        floor=floor_policy(settings),
        diagnosis=DiagnosisPolicy(budget_s=settings.diagnose_budget_s),
        tuning=TuningPolicy(
            family=settings.line.family,
            trials=settings.tune_trials,
            budget_s=settings.tune_budget_s,
            storage=settings.tuning_file,
        ),
    )


def candles_of(settings: Settings) -> CandleSource | None:
    """Return where candles lie, None where windows are made of samples."""
    return CandleDirectory(settings.candles_dir) if settings.window_source == "candles" else None


def asker_of(settings: Settings) -> SubprocessAsker:
    """Return the driver of all child processes."""
    return SubprocessAsker(
        python=settings.python, environment=inherited_environment(), grace_s=settings.stop_grace_s
    )


def trainer_of(settings: Settings) -> SubprocessTrainer:
    """Return the trainer, within the limits of the settings."""
    return SubprocessTrainer(
        asker_of(settings),
        cpu_s=settings.train_cpu_s,
        memory_mb=settings.train_memory_mb,
        checkpoints=settings.checkpoints_dir,
    )


def floor_policy(settings: Settings) -> FloorPolicy | None:
    """Return how the skill of plain models is measured, or None if it is not."""
    if settings.signal_floor == "off":
        return None
    return FloorPolicy(block_h=settings.block_h, embargo_h=settings.embargo_h)


def telemetry_of(settings: Settings) -> RedisTelemetry:
    """Return who reads what the engine said last; a rejection does not wait long for it."""
    client = connect(settings.redis_url, redis_password(settings), socket_timeout_s=2.0)
    return RedisTelemetry(client, settings.line)


def brake_of(settings: Settings, keys: Brake | None = None) -> Brake:
    """Return all that may stop the learning, asked with little patience: the main thread waits for it.

    Pass `keys` to share one reader of the freeze keys; without it a new one is made.
    """
    disks = DiskBrake(
        (settings.state_dir, settings.models_dir, settings.store.parent),
        min_free_bytes=settings.train_min_free_mb * 1_000_000,
        min_free_share=settings.training_min_free_share,
    )
    return Brakes(PauseBrake(controls_of(settings)), disks, keys or redis_brake_of(settings))


def redis_brake_of(settings: Settings) -> RedisBrake:
    """Return the trading system's freeze keys, with what every process of ours knows of them."""
    client = connect(settings.redis_url, redis_password(settings), socket_timeout_s=2.0)
    return RedisBrake(client, FreezeFile(settings.freeze_file))


def controls_of(settings: Settings) -> SqliteControls:
    """Return what an operator suspended."""
    return SqliteControls(settings.store, SystemClock(), busy_limit_s=QUEUE_BUSY_LIMIT_S)


def relay_of(client: redis.Redis, outbox: Outbox) -> OutboxRelay:
    """Return the publisher of this machine's events."""
    return OutboxRelay(client, outbox, host=socket.gethostname())


def redis_client(settings: Settings) -> redis.Redis:
    """Return a client; nothing is connected before the first command."""
    return connect(settings.redis_url, redis_password(settings))
