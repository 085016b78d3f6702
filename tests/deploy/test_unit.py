"""What the unit says about its neighbours, beyond what systemd itself checks."""

from pathlib import Path

from clm.store.migration_child import WORK_S
from clm.wiring import START_BUSY_LIMIT_S

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "quantum-clm.service"


def test_the_service_interrupts_nobody_and_is_not_starved() -> None:
    """The batch class gives the engine priority; with niceness, a busy machine starves training."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert "CPUSchedulingPolicy=batch" in lines
    assert not [line for line in lines if line.startswith("Nice=")]
    (weight,) = (int(line.partition("=")[2]) for line in lines if line.startswith("CPUWeight="))
    assert (
        80 <= weight < 100
    )  # an engine's unit has 100; with 50 two busy units slowed a training three times
    assert any("sched_setscheduler" in line for line in lines if line.startswith("SystemCallFilter="))


def test_a_start_that_waits_for_the_store_and_migrates_ends_before_systemd_ends_it() -> None:
    """A start that reports STORE_BUSY leaves its reason in the journal; one that is killed leaves none."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    (limit_s,) = (float(line.partition("=")[2]) for line in lines if line.startswith("TimeoutStartSec="))
    reading_s, child_s = START_BUSY_LIMIT_S, START_BUSY_LIMIT_S + WORK_S
    assert reading_s + child_s < limit_s
