"""Deliveries while a real redis-server is killed under load."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

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
