"""The stores made from real candles, through the whole command: what an honest pipeline finds in each."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_verbs import clm

pytestmark = [pytest.mark.needs_shared_data, pytest.mark.slow, pytest.mark.timeout(900)]


def verdict_on(store: Path, root: Path) -> dict[str, object]:
    """Run one cycle with the default settings."""
    done = clm(root, "run", "--json", "--store", str(store), CLM_TRAINING__EPOCHS="8", timeout_s=800)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judged_again(answer: dict[str, object], store: Path, root: Path) -> None:
    """Hold figures, verdicts and decision against those computed from the stored predictions."""
    done = clm(root, "verify-run", str(answer["run_id"]), "--json", "--store", str(store))
    assert done.returncode == 0, done.stdout
    checks = {check["name"]: check["message"] for check in json.loads(done.stdout)["checks"]}
    for section in ("metrics", "gates", "decision"):
        assert checks[section] == f"{section} agree to the last digit"


def gate(answer: dict[str, object], name: str) -> dict[str, object]:
    """Return what one gate answered."""
    (found,) = [row for row in answer["gates"] if row["name"] == name]
    return found


def test_twenty_months_show_skill_and_are_promoted(long_store, tmp_path):
    """Where there is skill, a gate that stops it is a broken gate."""
    answer = verdict_on(long_store, tmp_path)
    assert answer["decision"] == "PROMOTE"
    assert answer["metrics"]["candidate"]["auroc"] >= 0.59
    judged_again(answer, long_store, tmp_path)
    assert answer["promotion"]["state"] == "ABORTED"  # there is no engine below this root
    assert "MISSING" in answer["promotion"]["reason"]


def test_thirty_days_show_no_skill_and_are_rejected_with_the_interval(month_store, tmp_path):
    """Gates 1 and 2 may pass; noise can pass both."""
    answer = verdict_on(month_store, tmp_path)
    assert answer["decision"] == "REJECT"
    skill = gate(answer, "skill")
    assert skill["status"] == "FAIL"
    assert "interval" in skill["reason"]
    assert "is not above 0.5" in skill["reason"]
    assert "no_skill" in [cause["name"] for cause in answer["causes"]]
    judged_again(answer, month_store, tmp_path)


def test_twenty_months_with_shuffled_labels_are_rejected(long_store, tmp_path):
    """The same features without a meaning: whatever passes here would be noise."""
    with sqlite3.connect(long_store) as connection:
        outcome = "target_class, target_label, realized_pnl, exit_price"
        rows = connection.execute(f"SELECT id, {outcome} FROM ai_training_samples ORDER BY id").fetchall()
        order = np.random.default_rng(5).permutation(len(rows))
        connection.executemany(
            "UPDATE ai_training_samples SET target_class=?, target_label=?, realized_pnl=?, exit_price=? "
            "WHERE id=?",
            [(*rows[other][1:], row[0]) for row, other in zip(rows, order, strict=True)],
        )
    connection.close()
    answer = verdict_on(long_store, tmp_path)
    assert answer["decision"] == "REJECT"
    assert gate(answer, "skill")["status"] == "FAIL"
