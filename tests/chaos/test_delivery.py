"""Fifty kills of a real redis-server under load, next to an outbox that must lose events."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from structlog.testing import capture_logs

from tests.bus.delivery_machine import UNHURRIED, Delivery
from tests.bus.storm import storm
from tests.chaos.figures import SUMMARIES, Summary

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's has at most 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="clm-storm-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_fifty_kills_under_load_lose_nothing_and_a_naive_outbox_loses_events(directory: Path) -> None:
    """Redis saves once a second. Only events that two later saves have confirmed are not sent again."""
    began = time.monotonic()
    with capture_logs():
        seen = storm(directory, kills=50, triggers=5_000, events=5_000)
    seconds = time.monotonic() - began
    lost = seen.events_lost + seen.acknowledged_lost + seen.double_tasks
    detail = f"{seen.sent} triggers, {seen.events} events"
    SUMMARIES.append(
        Summary(title="kills of Redis", seconds=seconds, points=50, violations=lost, detail=detail)
    )
    naive = f"lost {seen.naive_lost} of {seen.events}"
    SUMMARIES.append(
        Summary(
            title="a naive outbox",
            seconds=seconds,
            points=seen.events,
            violations=seen.naive_lost,
            is_control=True,
            detail=naive,
        )
    )
    assert (seen.kills, seen.events) == (50, 5_000)
    assert (seen.events_lost, seen.acknowledged_lost, seen.double_tasks, seen.tasks) == (0, 0, 0, 1)
    assert seen.naive_lost > 0, "the control must fail, or the sweep is blind"


def test_sequences_of_requests_runs_and_faults_keep_the_rules_of_delivery() -> None:
    """Kills, rollbacks, flushes, jumps of the clock and edits, in 300 orders of 60 steps."""
    run_state_machine_as_test(
        Delivery, settings=settings(max_examples=300, stateful_step_count=60, **UNHURRIED)
    )
