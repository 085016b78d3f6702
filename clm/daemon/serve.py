"""Start the daemon: lock, store, adapters, threads; READY comes last."""

import socket
import threading
from pathlib import Path

from clm.bus.confirm import Confirmation
from clm.bus.inbox import Subscription, TriggerConsumer, consumer_name
from clm.bus.relay import Heartbeat
from clm.bus.service import BusWorker
from clm.daemon.heap import use_one_arena
from clm.daemon.schedule import Schedule, Timing
from clm.daemon.service import Service
from clm.domain.task import Trigger
from clm.settings import Settings
from clm.store.schedule import SqliteScheduleState
from clm.upkeep.lock import single_instance
from clm.wiring import redis_client, relay_of, wire

SCHEDULE = "retrain"


def serve(settings: Settings) -> None:
    """Serve until SIGTERM.

    Raises:
        AlreadyRunning: another instance holds the state directory.
        DataError: the store breaks its contract.
        ConfigError: settings, password file, state directory.
    """
    use_one_arena()
    # The lock comes before the store: a second daemon would requeue the tasks that the first one runs.
    with single_instance(settings.lock_file, "the daemon"):
        stop = threading.Event()
        wired = wire(settings, stop=stop)
        client = redis_client(settings)
        state = SqliteScheduleState(settings.store, wired.clock)

        def submit(reason: str) -> None:
            scheduled = Trigger(
                model=settings.line.family, reason=reason, requested_by="quantum-clm", source="schedule"
            )
            wired.queue.submit(scheduled, wired.clock.now())

        # Callables instead of the store: a schedule in a test needs no database.
        schedule = Schedule(
            submit,
            wired.clock,
            Timing(interval_h=settings.interval_h, cron=settings.cron),
            load_last_fired=lambda: state.last_fired(SCHEDULE),
            save_last_fired=lambda moment: state.save_last_fired(SCHEDULE, moment),
        )
        subscription = Subscription(consumer=consumer_name(_machine_id()), family=settings.line.family)
        bus = BusWorker(
            consumer=TriggerConsumer(client, wired.queue, wired.clock, subscription),
            relay=relay_of(client, wired.outbox),
            confirmation=Confirmation(client, wired.outbox, wired.clock),
            heartbeat=Heartbeat(client, wired.clock),
            outbox=wired.outbox,
            clock=wired.clock,
        )
        Service(wired, bus=bus, schedule=schedule, brake=wired.world.brake, stop=stop).run()


def _machine_id() -> str:
    """Return an id that is stable across reboots; a container may have no machine-id."""
    try:
        return (
            # The consumer name must survive restarts: Redis keeps unacknowledged entries per consumer name,
            # and the daemon claims its own first.
            Path("/etc/machine-id").read_text(encoding="utf-8", errors="replace").strip()
            or socket.gethostname()
        )
    except OSError:
        return socket.gethostname()
