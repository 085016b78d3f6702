"""Print one line for each sweep at the end of a run, and write the figures that `make chaos` collects."""

from pathlib import Path

import pytest

from tests.chaos.figures import SUMMARIES, figures_of, write_figures


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `python -m tests.chaos` passes."""
    parser.addoption("--figures", type=Path, help="write the counts of this run to this file, as JSON")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report points, violations and seconds of each sweep."""
    if SUMMARIES:
        terminalreporter.section("sweeps")
        for one in SUMMARIES:
            terminalreporter.line(str(one))
    if path := config.getoption("--figures"):
        write_figures(path, figures_of(terminalreporter.stats, SUMMARIES))
