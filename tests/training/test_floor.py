"""The child that measures the signal floor, with its real models."""

import subprocess
import sys
from pathlib import Path

import pytest

from clm.data.floor import FloorPolicy
from clm.questions.floor import NAME, floor_question
from clm.questions.question import ChildExit, Files, read_answer, write_question
from clm.training.__main__ import main
from tests.data.test_signal import rows

DAILY = FloorPolicy(block_h=24.0, embargo_h=1.0)


@pytest.mark.parametrize(("signal", "skilled"), [(1.0, True), (0.0, False)])
def test_both_models_find_what_is_there_and_nothing_else(tmp_path, signal, skilled):
    """A floor that noise passes would be no floor."""
    question = floor_question(rows(signal=signal), DAILY, budget_s=60.0)
    write_question(question, tmp_path)

    assert main([NAME, str(tmp_path)]) is ChildExit.DONE
    floor = read_answer(question, tmp_path)
    assert set(floor.skills) == {"logistic regression", "boosted trees"}
    assert (floor.p_value <= 0.05) is skilled
    assert all((skill.auroc > 0.65) is skilled for skill in floor.skills.values())


def test_the_same_rows_give_the_same_floor(tmp_path):
    """A finding that changes by itself is no evidence."""
    answers = []
    for _ in range(2):
        write_question(floor_question(rows(signal=0.3), DAILY, budget_s=60.0), tmp_path)
        main([NAME, str(tmp_path)])
        answers.append(Files(directory=tmp_path, name=NAME).answer.read_bytes())

    assert answers[0] == answers[1]


def test_a_torn_job_is_said_in_one_line(tmp_path, capfd):
    """The parent quotes the last line."""
    write_question(floor_question(rows(), DAILY, budget_s=60.0), tmp_path)
    (tmp_path / "floor.question.npz").write_bytes(b"PK\x03\x04torn")

    assert main([NAME, str(tmp_path)]) is ChildExit.JOB_UNREADABLE
    assert "holds no question 'floor'" in capfd.readouterr().err


def test_the_child_needs_no_torch():
    """It has to be there within a second or two."""
    code = "import sys, clm.training.__main__, clm.training.floor; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=root, timeout=120)

    assert finished.returncode == 0
