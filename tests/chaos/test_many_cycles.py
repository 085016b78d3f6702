"""Two hundred cycles in one daemon: what it holds between cycles stays flat."""

import time

import pytest

from tests.chaos.figures import SUMMARIES, Summary
from tests.daemon.many_cycles import run_cycles

pytestmark = pytest.mark.needs_redis

CYCLES = 200
SAMPLES = 9_000
WARM_UP = 20
"""Cycles until every part of the code has run, promotion included."""
GROWTH_MB = 10.0


def test_two_hundred_cycles_leave_no_memory_descriptor_or_zombie_behind() -> None:
    """A daemon that grows by a megabyte a cycle meets the limit of its unit after some weeks."""
    began = time.monotonic()
    looks = run_cycles(CYCLES, SAMPLES)
    first, last = looks[WARM_UP - 1], looks[-1]
    grown_mb = last.resident_mb - first.resident_mb
    detail = f"{first.resident_mb} MB after {WARM_UP} cycles, {last.resident_mb} MB after {CYCLES}"
    violations = int(grown_mb > GROWTH_MB) + sum(look.zombies > 0 for look in looks)
    SUMMARIES.append(
        Summary(
            title="cycles in one daemon",
            seconds=time.monotonic() - began,
            points=CYCLES,
            violations=violations,
            detail=detail,
        )
    )
    assert grown_mb <= GROWTH_MB, detail
    assert max(look.descriptors for look in looks[WARM_UP:]) <= first.descriptors + 2
    assert max(look.threads for look in looks[WARM_UP:]) <= first.threads + 1
    assert max(look.zombies for look in looks) == 0
