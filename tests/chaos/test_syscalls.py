"""A fault at every system call by which one promotion changes something."""

import pytest

from tests.chaos.place import GOOD
from tests.chaos.sweep import Setting, bad, each, sweep
from tests.chaos.syscalls import FAULTS, Fault, calls_of, inject

pytestmark = [pytest.mark.timeout(3600), pytest.mark.needs_root]


def test_a11_a12_j1_a_fault_at_any_system_call_leaves_the_old_model_or_the_new() -> None:
    """A kill, a device error and a full disk."""
    setting = Setting(content=GOOD)
    (calls,) = each([None], calls_of, setting)
    assert len(calls) >= 150
    faults = [Fault(call=call, how=how) for call in calls for how in FAULTS]
    seen = sweep("faults at system calls", faults, inject, setting)
    assert bad(seen) == []
    assert [one.where for one in seen if not one.as_meant] == []
