"""Stores made from nothing, and a look at them that does not go through the code under test."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.domain.task import Trigger
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.store.runs import SqliteJournal
from clm.store.tasks import SqliteTaskQueue
from tests.fakes import FakeClock

WISH = Trigger(model="patchtst", reason="drift", requested_by="monitor", source="redis:model.retrain")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A store of the existing shape in which we have not been yet."""
    path = tmp_path / "store.db"
    create_store(path)
    return path


@pytest.fixture
def store(bare: Path) -> Path:
    """A store with our tables."""
    migrate(bare)
    return bare


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(store: Path, clock: FakeClock) -> SqliteTaskQueue:
    return SqliteTaskQueue(store, clock)


@pytest.fixture
def journal(store: Path, clock: FakeClock) -> SqliteJournal:
    return SqliteJournal(store, clock)


@pytest.fixture
def outbox(store: Path, clock: FakeClock) -> SqliteOutbox:
    return SqliteOutbox(store, clock)


@pytest.fixture
def promotions(store: Path, clock: FakeClock) -> SqlitePromotionLog:
    return SqlitePromotionLog(store, clock)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that any connection of SQLAlchemy's runs from now on, BEGIN and COMMIT included."""
    seen: list[str] = []

    def trace(driver_connection: Any, _record: object) -> None:
        driver_connection.set_trace_callback(seen.append)

    event.listen(Pool, "connect", trace)
    yield seen
    event.remove(Pool, "connect", trace)


def look(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows as anybody with sqlite3 sees them."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def change(path: Path, *statements: str) -> None:
    """Do to the store what an operator or the engine may do to it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def names(directory: Path) -> list[str]:
    """Return what lies in a directory."""
    return sorted(path.name for path in directory.iterdir())


def sample(**changes: object) -> dict[str, object]:
    """A row of ai_training_samples."""
    return {
        "symbol": "BTCUSDT",
        "timestamp": "2026-01-01 00:00:00",
        "predicted_action": "BUY",
        "prediction_score": 0.7,
        "prediction_confidence": 0.7,
        "features": "[1.0, 2.0]",
        **changes,
    }


def artefact(version: str = "patchtst_v20260102_030405", run_id: str = "p07_1") -> Artefact:
    """A registered model without its file."""
    lineage = Lineage(
        run_id=run_id, data_fingerprint="f", weights_hash="w", code_version="1", settings={}, seed=7
    )
    manifest = Manifest(
        version=version,
        sha256="c" * 64,
        size_bytes=1,
        created_at="2026-01-02T03:04:05Z",
        architecture="patchtst",
        context_length=128,
        feature_names=("rsi",),
        decision="PROMOTE",
        metrics={},
        lineage=lineage,
    )
    return Artefact(
        directory=Path("/artefacts", version),
        model_path=Path("/artefacts", version, "model.pth"),
        manifest=manifest,
    )


def child(code: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """Start Python on `code`, with our package to import."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=Path(__file__).parents[2], **{**pipes, **options})


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked_by_another_process(path: Path, statement: str = "BEGIN IMMEDIATE") -> Iterator[Callable[[], None]]:
    """Hold a lock from another process; calling what is given lets it go."""
    process = child(HOLD, path, statement)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "locked\n"

    once = threading.Lock()

    def let_go() -> None:
        # A timer may be at it when the block ends.
        with once:
            if process.poll() is None:
                process.communicate("\n")

    try:
        yield let_go
    finally:
        let_go()


def as_nobody() -> Callable[[], None] | None:
    """Return what a child must do first so that modes of files count for it; nothing where they do anyway."""

    def drop() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    return drop if os.geteuid() == 0 else None
