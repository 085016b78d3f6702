"""One line a sweep at the end of the run."""

import pytest

from tests.chaos.sweep import SUMMARIES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each sweep had, how many violations, and how long it took."""
    if SUMMARIES:
        terminalreporter.section("sweeps")
        for line in SUMMARIES:
            terminalreporter.line(line)
