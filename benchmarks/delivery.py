"""What a trigger costs the daemon: CPU time of 10,000 triggers with 500 keys, next to a bare redis-py loop.

    python benchmarks/delivery.py [--triggers N] [--keys N] [--json]

A real redis-server and a real store. The consumer reads, validates, hashes, stores and acknowledges; the bare
loop reads and acknowledges pages of the same size with redis-py's own parser, and does nothing else.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import redis
import structlog

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from clm.bus.client import connect  # noqa: E402  the path comes first
from clm.bus.inbox import BATCH, Subscription, TriggerConsumer  # noqa: E402
from clm.bus.streams import MODEL_RETRAIN  # noqa: E402
from clm.clock import SystemClock  # noqa: E402
from clm.domain.line import DEFAULT_LINE  # noqa: E402
from clm.store.create import create_store  # noqa: E402
from clm.store.migrate import migrate  # noqa: E402
from clm.store.tasks import SqliteTaskQueue  # noqa: E402
from tests.bus.conftest import RedisServer  # noqa: E402


def fill(server: RedisServer, triggers: int, keys: int) -> None:
    """Send the triggers; `keys` is the number of different requests."""
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        pipeline = client.pipeline(transaction=False)
        for n in range(triggers):
            wish = {"model": "patchtst", "source": "bench", "reason": f"request {n % keys}", "n": n}
            pipeline.xadd(MODEL_RETRAIN, wish)  # type: ignore[arg-type]
        pipeline.execute()


def of_the_daemon(server: RedisServer, store: Path, triggers: int) -> float:
    """Return CPU microseconds a trigger."""
    queue = SqliteTaskQueue(store, SystemClock())
    named = Subscription(consumer="clm@bench", family=DEFAULT_LINE.family, block_ms=1)
    consumer = TriggerConsumer(connect(server.url), queue, SystemClock(), named)
    began, handled = time.process_time(), 0
    while handled < triggers:
        handled += consumer.poll_once()
    return (time.process_time() - began) / triggers * 1e6


def of_a_bare_loop(server: RedisServer, triggers: int) -> float:
    """Return CPU microseconds a trigger of reading and acknowledging alone."""
    with redis.Redis(unix_socket_path=str(server.socket), protocol=2) as client:
        client.xgroup_create(MODEL_RETRAIN, "bare", id="0")
        began, handled = time.process_time(), 0
        while handled < triggers:
            reply = client.xreadgroup("bare", "one", {MODEL_RETRAIN: ">"}, count=BATCH)
            ids = [entry_id for _, page in reply for entry_id, _ in page]  # type: ignore[union-attr]
            client.xack(MODEL_RETRAIN, "bare", *ids)
            handled += len(ids)
        return (time.process_time() - began) / triggers * 1e6


def measure(triggers: int, keys: int) -> dict[str, float]:
    """Return microseconds of CPU a trigger, of the daemon and of the bare loop, and their ratio."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="clm-redis-") as scratch:
        server = RedisServer(Path(scratch))
        server.start()
        try:
            store = Path(scratch) / "store.db"
            create_store(store)
            migrate(store)
            fill(server, triggers, keys)
            bare_us = of_a_bare_loop(server, triggers)
            daemon_us = of_the_daemon(server, store, triggers)
        finally:
            server.stop()
    return {
        "daemon_us": round(daemon_us, 1),
        "bare_us": round(bare_us, 1),
        "ratio": round(daemon_us / bare_us, 1),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.triggers, given.keys)
    if given.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    sys.stdout.write(
        f"{given.triggers} triggers, {given.keys} keys: {figures['daemon_us']} us of CPU each; "
        f"a bare redis-py loop takes {figures['bare_us']} us, ratio {figures['ratio']}\n"
    )


if __name__ == "__main__":
    main()
