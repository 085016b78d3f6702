"""`clm status` shows how far a training came."""

from dataclasses import replace
from pathlib import Path

import pytest

from clm.artefacts.records import encode_line
from clm.clock import SystemClock
from clm.domain.job import EpochReport
from clm.questions.question import Files
from clm.questions.train import NAME, Resumed, TrainProgress
from clm.settings import Settings, load_settings
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.runs import SqliteJournal
from clm.verbs.overview import overview
from tests.builders import run_start

REPORT = EpochReport(
    epoch=2,
    epochs=8,
    train_loss=0.69,
    validation_log_loss=0.68125,
    validation_auroc=0.55,
    validation_p_win_std=0.01,
    seconds=1.5,
    best=True,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A store in which a run is under way."""
    settings = load_settings(None, {"root": tmp_path, "store": tmp_path / "store.db"})
    create_store(settings.store)
    migrate(settings.store)
    clock = SystemClock()
    SqliteJournal(settings.store, clock).start_run(
        run_start("p07_x", started_at=clock.now(), trigger_reason="schedule"), []
    )
    return settings


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (b"", "not begun"),
        (encode_line(TrainProgress(news=Resumed(epoch=3))), "resumed after epoch 3"),
        (
            encode_line(TrainProgress(news=REPORT)) + b'{"news": {"ty',
            "epoch 2 of 8, validation log loss 0.6813, AUROC 0.550",
        ),
        (
            encode_line(TrainProgress(news=replace(REPORT, network="member 1 of 2"))),
            "epoch 2 of 8 of member 1 of 2, validation log loss 0.6813, AUROC 0.550",
        ),
    ],
)
def test_the_last_complete_line_of_progress_is_shown(settings: Settings, lines: bytes, shown: str) -> None:
    """The child may be writing the next one."""
    path = Files(directory=settings.runs_dir / "p07_x" / "job", name=NAME).progress
    path.parent.mkdir(parents=True)
    path.write_bytes(lines)
    assert overview(settings)["training"] == shown


def test_progress_of_another_version_is_reported_as_such(settings: Settings) -> None:
    """A daemon that was updated meanwhile ended that training anyway."""
    path = Files(directory=settings.runs_dir / "p07_x" / "job", name=NAME).progress
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"epoch": 1}\n')
    assert "cannot be read" in str(overview(settings)["training"])
