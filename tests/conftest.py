"""What tests may need, and the rule that CI must have it.

A test that needs root, a server, namespaces or the stores of market candles carries a marker and is
skipped with a reason where that is missing; with CI=true such a skip fails the run, but for a GPU.
"""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from tests.promotion.servers import bare_server, server, stopped_server, store_template

__all__ = ["bare_server", "server", "stopped_server", "store_template"]  # fixtures

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _log_as_by_default() -> Iterator[None]:
    """Undo what a test configured: structlog is global, and the next test of this process reads its lines."""
    yield
    structlog.reset_defaults()


def _can_boot_systemd() -> bool:
    return os.geteuid() == 0 and Path("/lib/systemd/systemd").exists() and bool(shutil.which("unshare"))


def _can_lose_power() -> bool:
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and bool(shutil.which("mkfs.ext4"))


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "needs_root": (lambda: os.geteuid() == 0, "has to run as root"),
    "needs_redis": (lambda: shutil.which("redis-server") is not None, "redis-server is not installed"),
    "needs_systemd_ns": (_can_boot_systemd, "needs root, systemd and unshare"),
    "needs_loop": (_can_lose_power, "needs root, loop devices and mkfs.ext4"),
    "needs_cuda": (Path("/dev/nvidiactl").exists, "there is no NVIDIA GPU"),
    "needs_shared_data": (SHARED_DATA.is_dir, "the stores of market candles are not here"),
}

OPTIONAL = ("needs_cuda",)
"""What even CI need not have: the service runs on a server without it."""

LONG = ("slow", "needs_systemd_ns")
"""Marks of tests that should not be the last to begin."""

_skipped: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, with the reason; begin with the files that take longest."""
    longest = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: item.path not in longest)
    missing = {name: why for name, (there, why) in NEEDS.items() if not there()}
    for item in items:
        for name, why in missing.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=why))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped."""
    if report.skipped and not hasattr(report, "wasxfail") and not set(OPTIONAL) & set(report.keywords):
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run in which something was skipped: there everything has to be there."""
    if os.environ.get("CI") == "true" and _skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why a CI run without failures failed."""
    if os.environ.get("CI") == "true" and _skipped:
        terminalreporter.section("skipped in CI, which must not be")
        for nodeid in _skipped:
            terminalreporter.line(nodeid)


@pytest.fixture
def month_store(tmp_path: Path) -> Path:
    """A copy of the 30-day store: 6,000 samples without skill to find."""
    return Path(shutil.copy(SHARED_DATA / "quantum_trader.db", tmp_path / "month.db"))


@pytest.fixture
def long_store(tmp_path: Path) -> Path:
    """A copy of the 20-month store: 30,000 samples with real skill."""
    path = tmp_path / "20months.db"
    with gzip.open(SHARED_DATA / "quantum_trader_20months.db.gz") as packed, path.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    return path
