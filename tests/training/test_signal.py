"""The child that measures the signal floor, with its real models."""

import subprocess
import sys
from pathlib import Path

import pytest

from clm.artefacts.job_files import ChildExit
from clm.artefacts.signal_files import FLOOR, read_floor, write_signal_job
from clm.data.signal import SignalPolicy
from clm.training.signal import main
from tests.data.test_signal import rows

DAILY = SignalPolicy(block_h=24.0, embargo_h=1.0)


@pytest.mark.parametrize(("signal", "skilled"), [(1.0, True), (0.0, False)])
def test_both_models_find_what_is_there_and_nothing_else(tmp_path, signal, skilled):
    """A floor that noise passes would be no floor."""
    write_signal_job(tmp_path, rows(signal=signal), DAILY)

    assert main([str(tmp_path)]) is ChildExit.DONE
    floor = read_floor(tmp_path)
    assert set(floor.skills) == {"logistic regression", "boosted trees"}
    assert (floor.p_value <= 0.05) is skilled
    assert all((skill.auroc > 0.65) is skilled for skill in floor.skills.values())


def test_the_same_rows_give_the_same_floor(tmp_path):
    """A finding that changes by itself is no evidence."""
    answers = []
    for _ in range(2):
        write_signal_job(tmp_path, rows(signal=0.3), DAILY)
        main([str(tmp_path)])
        answers.append((tmp_path / FLOOR).read_bytes())

    assert answers[0] == answers[1]


def test_a_torn_job_is_said_in_one_line(tmp_path, capfd):
    """The parent quotes the last line."""
    write_signal_job(tmp_path, rows(), DAILY)
    (tmp_path / "signal.npz").write_bytes(b"PK\x03\x04torn")

    assert main([str(tmp_path)]) is ChildExit.JOB_UNREADABLE
    assert "holds no rows to measure" in capfd.readouterr().err


def test_the_child_needs_no_torch():
    """It has to be there within a second or two."""
    code = "import sys, clm.training.signal as child; child._make_ready(); sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    finished = subprocess.run([sys.executable, "-c", code], check=False, cwd=root, timeout=120)

    assert finished.returncode == 0
