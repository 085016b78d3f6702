"""Power loss at every point of a promotion, and the controls that show that the sweep would notice."""

from collections.abc import Callable

import pytest

from tests.chaos.disk import DiskPlace
from tests.chaos.kills import points_of
from tests.chaos.place import BAD, GOOD
from tests.chaos.power import cut, cut_with_full, cut_with_normal, cut_without_syncs
from tests.chaos.sweep import Seen, Setting, bad, each, sweep

pytestmark = [pytest.mark.timeout(3600), pytest.mark.needs_loop]


@pytest.mark.parametrize("content", [GOOD, BAD])
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a9_g1_h15_a_power_loss_leaves_the_old_model_or_the_new(content: bytes, journal_mode: str) -> None:
    """Reported states are stored, the file is old or new and never NULs, and the engine starts on it."""
    setting = Setting(content=content, journal_mode=journal_mode, on_disk=True)
    (points,) = each([None], points_of, setting)
    seen = sweep(
        f"power loss, {content.decode()} model, {journal_mode} journal",
        range(1, len(points) + 1),
        cut,
        setting,
    )
    assert bad(seen) == []
    assert all(one.as_meant for one in seen)


@pytest.mark.parametrize(
    ("without", "work", "journal_mode"),
    [
        ("our syncs", cut_without_syncs, "delete"),
        ("synchronous above NORMAL", cut_with_normal, "wal"),
        ("synchronous above FULL", cut_with_full, "delete"),
    ],
)
def test_the_sweep_notices_what_is_not_synced(
    without: str, work: Callable[[DiskPlace, int], Seen], journal_mode: str
) -> None:
    """A sweep that finds nothing in broken code has looked at nothing."""
    setting = Setting(content=GOOD, journal_mode=journal_mode, on_disk=True)
    (points,) = each([None], points_of, setting)
    seen = sweep(f"control without {without}", range(1, len(points) + 1), work, setting, is_control=True)
    assert len(bad(seen)) >= 5
