"""What the unit says about its neighbours, beyond what systemd itself checks."""

from pathlib import Path

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "quantum-clm.service"


def test_the_service_interrupts_nobody_and_is_not_starved() -> None:
    """The batch class lets the engine go first; niceness beside busy neighbours leaves a training nothing."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert "CPUSchedulingPolicy=batch" in lines
    assert not [line for line in lines if line.startswith("Nice=")]
    (weight,) = (int(line.partition("=")[2]) for line in lines if line.startswith("CPUWeight="))
    assert (
        80 <= weight < 100
    )  # an engine's unit has 100; with 50 two busy units slowed a training three times
    assert any("sched_setscheduler" in line for line in lines if line.startswith("SystemCallFilter="))
