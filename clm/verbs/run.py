"""`clm run`: the daemon's cycle in the foreground; its events are published if Redis replies."""

from collections.abc import Callable, Mapping

import structlog

from clm.cycle import run_cycle
from clm.domain.job import EpochReport
from clm.errors import BusUnavailable
from clm.ports import Outbox, StopSignal
from clm.settings import Settings
from clm.steps.world import Request
from clm.upkeep.lock import single_instance
from clm.verbs.answers import as_answer, print_result
from clm.wiring import redis_client, relay_of, wire

log = structlog.get_logger()


def run_once(
    settings: Settings,
    say: Callable[[str], None],
    *,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
    promote: bool,
) -> Mapping[str, object]:
    """Run one cycle and return what `clm run --json` prints.

    Raises:
        ClmError: the cycle failed; the run is closed and its proof pack written.
    """
    with single_instance(settings.lock_file, "clm run"):
        wired = wire(settings, stop=stop, promote=promote)
        wired.queue.recover(wired.clock.now())
        wired.registry.sweep()
        wired.promoter.recover()
        wired.promoter.adopt()
        wired.retention.tidy()
        request = Request(task=None, reason="asked for at the command line", stop=stop, on_epoch=on_epoch)
        report = run_cycle(wired.world, wired.policies, request)
        send_events(settings, wired.outbox)
    print_result(report, say)
    return as_answer(report)


def send_events(settings: Settings, outbox: Outbox) -> int:
    """Publish waiting events if Redis replies; return how many still wait."""
    relay = relay_of(redis_client(settings), outbox)
    try:
        while relay.drain_once(500):
            pass
    except BusUnavailable as error:
        log.info("events.waiting", count=outbox.waiting_count(), code=error.code, reason=error.message)
    return outbox.waiting_count()
