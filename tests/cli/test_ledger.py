"""`clm verify-ledger`, and what status, runs and show report about the ledger."""

import json
from pathlib import Path

import pytest

from clm.clock import SystemClock
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.runs import SqliteJournal
from tests.cli.test_verbs import clm
from tests.store.conftest import change
from tests.store.test_ledger import OPEN, run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with three attempts."""
    path = tmp_path / "store.db"
    create_store(path)
    migrate(path)
    journal = SqliteJournal(path, SystemClock())
    for n in range(1, 4):
        run(journal, f"p07_{n}")
    return path


def pack(root: Path, rows: int, head: str) -> None:
    """Leave a proof pack that saw this head."""
    directory = root / "var/lib/quantum-clm/runs/p07_3"
    directory.mkdir(parents=True)
    (directory / "proof.json").write_text(json.dumps({"ledger": {"rows": rows, "head_sha256": head}}))
    (directory / "proof.md").write_text("# Run p07_3\n")


def test_a_whole_ledger_is_exit_0_and_a_broken_one_exit_1_with_its_first_row(tmp_path, store):
    """For cron jobs and auditors."""
    (tmp_path / "runs").mkdir()
    done = clm(tmp_path, "verify-ledger", "--json", "--store", str(store))
    whole = json.loads(done.stdout)
    assert (done.returncode, whole["rows"], whole["whole"], whole["first_broken_row"]) == (0, 3, True, None)
    change(store, *OPEN, "UPDATE clm_ledger SET outcome = 'HOLD' WHERE seq = 2")
    done = clm(tmp_path, "verify-ledger", "--store", str(store))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("edited")
    assert "row 2 is edited" in done.stdout
    assert "the ledger is broken: row 2 is edited" in clm(tmp_path, "status", "--store", str(store)).stdout


def test_a_head_in_a_proof_pack_shows_what_was_taken_from_the_end(tmp_path, store):
    """The chain cannot: what is left of it is whole."""
    whole = json.loads(clm(tmp_path, "verify-ledger", "--json", "--store", str(store)).stdout)
    pack(tmp_path, 3, whole["head_sha256"])
    again = json.loads(clm(tmp_path, "verify-ledger", "--json", "--store", str(store)).stdout)
    assert (again["whole"], again["heads"]) == (True, 1)
    change(
        store, *OPEN, "DELETE FROM clm_ledger WHERE seq = 3", "DELETE FROM clm_runs WHERE run_id = 'p07_3'"
    )
    done = clm(tmp_path, "verify-ledger", "--store", str(store))
    assert done.returncode == 1
    assert "row 3 is gone" in done.stdout
    accepted = clm(tmp_path, "verify-ledger", "--accept", "the store was restored", "--store", str(store))
    assert accepted.returncode == 0
    assert clm(tmp_path, "verify-ledger", "--store", str(store)).returncode == 0


def test_runs_show_and_status_tell_the_ledger(tmp_path, store):
    """The number by which two people speak of one attempt."""
    pack(tmp_path, 0, "0" * 64)
    runs = json.loads(clm(tmp_path, "runs", "--json", "--store", str(store)).stdout)["runs"]
    assert {row["run_id"]: row["ledger_row"] for row in runs} == {"p07_1": 1, "p07_2": 2, "p07_3": 3}
    assert "Ledger row 3." in clm(tmp_path, "show", "p07_3", "--store", str(store)).stdout
    attempts = json.loads(clm(tmp_path, "status", "--json", "--store", str(store)).stdout)["attempts"]
    assert (attempts["next"], attempts["alpha"]) == (4, pytest.approx(0.05))
    assert attempts["left"] == pytest.approx(0.01)
