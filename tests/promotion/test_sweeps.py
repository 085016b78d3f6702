"""A few points of each fault sweep; `make chaos` does them all (docs/benchmarks/chaos.md)."""

import pytest

from tests.chaos.kills import kill, points_of
from tests.chaos.place import BAD, GOOD
from tests.chaos.power import cut
from tests.chaos.sweep import Setting, bad, each, sweep
from tests.chaos.syscalls import FAULTS, Fault, calls_of, inject


@pytest.mark.parametrize("content", [GOOD, BAD])
def test_kills_between_the_checkpoints_are_brought_to_their_end(content: bytes) -> None:
    """A watcher process looks on, and the recovery is killed too."""
    setting = Setting(content=content)
    (points,) = each([None], points_of, setting)
    some = [
        n
        for n, point in enumerate(points, start=1)
        if point.startswith(("link", "rename", "pidfd_send", "sql INS"))
    ]
    assert len(some) >= 4
    seen = sweep("sample", [(n, m) for n in some[::2] for m in (2, 9)], kill, setting)
    assert bad(seen) == []
    assert sum(one.as_meant for one in seen) > len(some) / 2


@pytest.mark.needs_root
def test_a11_a12_j1_faults_at_system_calls_leave_the_old_model_or_the_new() -> None:
    """The first call of each name on each kind of file, with each fault."""
    setting = Setting(content=GOOD)
    (calls,) = each([None], calls_of, setting)
    first = {(call.name, "store.db" in call.text): call for call in reversed(calls)}
    faults = [Fault(call=call, how=how) for call in first.values() for how in FAULTS]
    assert len(faults) > 20
    seen = sweep("sample", faults[::3] + faults[1::6], inject, setting)
    assert bad(seen) == []
    assert all(one.as_meant for one in seen)


@pytest.mark.needs_loop
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a9_g1_h15_a_power_loss_leaves_the_old_model_or_the_new(journal_mode: str) -> None:
    """What must be on disk right after a rename, and right after a state was reported as stored."""
    setting = Setting(content=GOOD, journal_mode=journal_mode, on_disk=True)
    (points,) = each([None], points_of, setting)
    some = [
        n
        for n, point in enumerate(points, start=1)
        if point in {"prepared", "staged", "pointed", "committed"} or points[n - 2].startswith("rename .ai")
    ]
    assert len(some) >= 5
    seen = sweep("sample", some, cut, setting)
    assert bad(seen) == []
    assert all(one.as_meant for one in seen)
