"""`make chaos` runs every fault sweep in one named part, and ends with one table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.__main__ import main, run_all
from tests.chaos.figures import Summary, figures_of
from tests.chaos.parts import PARTS, Part

ROOT = Path(__file__).parents[1]
NAMES = [part.name for part in PARTS]
CONFTEST = "from tests.chaos.conftest import *\nfrom tests.chaos.figures import SUMMARIES, Summary\n"
SWEEP = """
def test_a_sweep():
    SUMMARIES.append(Summary(title="sweep", seconds=1.0, points=40, violations=3))
    SUMMARIES.append(Summary(title="control", seconds=1.0, points=10, violations=9, is_control=True))
"""


def test_every_file_of_the_fault_sweeps_belongs_to_exactly_one_part() -> None:
    """A file without a part would never run: `make test` leaves the directory out."""
    files = sorted(path.name for path in (ROOT / "tests/chaos").glob("test_*.py"))
    assert sorted(name for part in PARTS for name in part.files) == files
    assert len(set(NAMES)) == len(NAMES)


def test_every_fault_sweep_can_be_collected() -> None:
    """An import that breaks is found here, not hours into `make chaos`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-p",
        "no:cacheprovider",
        "tests/chaos",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("name", NAMES)
def test_help_and_document_name_every_part(name: str) -> None:
    """An operator chooses a part from these two places."""
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert name in shown.split()
    assert f"\n| `{name}` |" in (ROOT / "docs/benchmarks/chaos.md").read_text()


def test_an_unknown_part_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing runs, so a typing error does not look like a passed sweep."""
    assert main(["powr", "--", "-x"]) == 2
    assert f"no part is named powr; choose from {', '.join(NAMES)}" in capsys.readouterr().err


def test_the_table_has_every_part_after_one_failed_and_one_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The parts after a failure still run, and the exit status reports it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    bodies = {
        "dies": "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)\n",
        "fails": "def test_it(): assert False\n",
        "empty": "",
        "sweeps": CONFTEST + SWEEP + "def test_it(): pass\n",
    }
    for name, body in bodies.items():
        (tmp_path / f"test_{name}.py").write_text(body)
    parts = [Part(name=name, files=(f"test_{name}.py",), what=name) for name in bodies]
    assert run_all(parts, directory=tmp_path) == 1
    printed = capfd.readouterr().out
    rows = [line.split() for line in printed[printed.index("\npart ") :].splitlines()]
    assert [row[:6] + row[7:] for row in rows if row] == [
        ["part", "tests", "failed", "skipped", "points", "violations", "result"],
        ["dies", "-", "-", "-", "-", "-", "ENDED", "WITH", "-9"],
        ["fails", "1", "1", "0", "0", "0", "FAILED"],
        ["empty", "0", "0", "0", "0", "0", "NO", "TESTS"],
        ["sweeps", "2", "0", "0", "50", "3", "ok"],
    ]


def test_a_test_that_is_expected_to_fail_counts_as_passed_and_an_unexpected_pass_as_failed() -> None:
    """Pytest reports a strict pass as `failed`; an error in a fixture is a failure too."""
    outcomes = {"passed": [1, 2], "xfailed": [3], "failed": [4], "error": [5], "skipped": [6]}
    figures = figures_of(outcomes, [Summary(title="x", seconds=1.0, points=5, violations=1)])
    assert (figures.tests, figures.failed, figures.skipped) == (5, 2, 1)


def test_one_file_runs_without_the_table(tmp_path: Path) -> None:
    """`pytest tests/chaos/test_x.py` stays possible; it prints the sweeps."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_one.py").write_text(CONFTEST + SWEEP)
    command = [sys.executable, "-m", "pytest", "-q", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "sweep: 40 points, 3 with violations, 1 s" in done.stdout
