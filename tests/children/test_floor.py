"""The parent of the signal floor's child: it never hangs on it, never breaks on it, never leaves it."""

import tempfile
import threading
from pathlib import Path

import pytest

from clm.children.ask import SubprocessAsker
from clm.data.dataset import Dataset
from clm.data.floor import Floor, FloorPolicy
from clm.steps.floor import prepared_floor
from tests.children.processes import children, script
from tests.data.rows import dataset_of, simulated_rows

DAILY = FloorPolicy(block_h=24.0, embargo_h=1.0)


@pytest.fixture(scope="module")
def dataset():
    return dataset_of(simulated_rows())


def floor_of(dataset: Dataset, python: Path | None = None, **options: float) -> Floor:
    with prepared_floor(SubprocessAsker(python=python), DAILY, **options) as measure:
        return measure(dataset, threading.Event())


def test_a_market_with_signal_has_a_floor(dataset):
    """The whole way: files, child, answer."""
    floor = floor_of(dataset)

    assert floor.absent_because == ""
    assert floor.p_value <= 0.05


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'it broke' >&2; exit 3", "exit code 3: it broke"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("exit 0", "cannot be used"),
        ("exec sleep 60", "ended after 0.5 s"),
    ],
)
def test_a_child_that_fails_is_a_reason_not_an_exception(tmp_path, dataset, text, words):
    """A training must not end because a question about it could not be answered."""
    python, before = script(tmp_path, text), children()
    floor = floor_of(dataset, python, budget_s=0.5)

    assert words in floor.absent_because
    assert children() - before == set()


def test_a_python_that_is_not_there_is_a_reason(tmp_path, dataset):
    """CLM_TRAINING__PYTHON may be mistyped; the training will say so loudly."""
    floor = floor_of(dataset, tmp_path / "none")

    assert "cannot be started" in floor.absent_because


def test_a_child_that_is_never_asked_is_not_left_behind(tmp_path):
    """Data may turn out to be refused while the child gets ready."""
    python, before = script(tmp_path, "sleep 60"), children()
    with prepared_floor(SubprocessAsker(python=python), DAILY):
        pass

    assert children() - before == set()


def test_a_machine_without_a_temporary_directory_is_a_reason(tmp_path, dataset, monkeypatch):
    """A full or read-only /tmp must not end a cycle whose data are sound."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "cannot be asked" in floor_of(dataset).absent_because
