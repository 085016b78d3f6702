"""Deliveries while a real redis-server is killed under load."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from structlog.testing import capture_logs

from benchmarks.delivery import measure
from tests.bus.delivery_machine import UNHURRIED, Delivery
from tests.bus.storm import storm

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's has at most 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="clm-storm-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_i1_kills_of_the_server_under_load_lose_no_event_and_no_acknowledged_trigger(directory: Path) -> None:
    """`make chaos PART=delivery` makes 50 kills, where a naive outbox next to ours loses events."""
    with capture_logs():
        seen = storm(directory, kills=4, triggers=400, events=400)
    assert (seen.kills, seen.events) == (4, 400)
    assert (seen.events_lost, seen.acknowledged_lost, seen.double_tasks, seen.tasks) == (0, 0, 0, 1)


def test_sequences_of_requests_runs_and_faults_keep_the_rules_of_delivery() -> None:
    """`make chaos PART=delivery` runs 300 sequences of 60 steps."""
    run_state_machine_as_test(
        Delivery, settings=settings(max_examples=4, stateful_step_count=20, **UNHURRIED)
    )


def test_a_trigger_costs_the_daemon_at_most_a_hundred_microseconds() -> None:
    """Processor time of 10,000 triggers with 500 keys; `make bench` compares it with a bare loop."""
    assert min(measure(10_000, 500)["daemon_us"] for _ in range(2)) <= 100
