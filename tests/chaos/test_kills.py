"""SIGKILL at every point of a promotion, and again at every point of its recovery."""

import pytest

from tests.chaos.kills import kill, points_of, points_of_recovery
from tests.chaos.place import BAD, GOOD
from tests.chaos.sweep import Setting, bad, each, sweep

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize(
    ("content", "journal_mode"), [(GOOD, "delete"), (BAD, "delete"), (GOOD, "wal"), (BAD, "wal")]
)
def test_a_kill_at_any_point_and_another_at_any_point_of_the_recovery(
    content: bytes, journal_mode: str
) -> None:
    """A machine that dies once dies twice; what is on the disk has to be enough, each time."""
    setting = Setting(content=content, journal_mode=journal_mode)
    (points,) = each([None], points_of, setting)
    assert len(points) >= 30
    name = f"{content.decode()} model, {journal_mode} journal"
    once = sweep(f"one kill, {name}", [(n,) for n in range(1, len(points) + 1)], kill, setting)
    assert bad(once) == []
    assert all(one.looks and one.as_meant for one in once)
    if journal_mode == "delete":
        # Kills that leave the same state behind are the same kill to the recovery.
        first = {one.left: n for n, one in reversed([*enumerate(once, start=1)])}
        lengths = each([*first.values()], points_of_recovery, setting)
        twice = [
            (n, m) for n, after in zip(first.values(), lengths, strict=True) for m in range(1, len(after) + 1)
        ]
        seen = sweep(f"two kills, {name}", twice, kill, setting)
        assert bad(seen) == []
        assert all(one.as_meant for one in seen)


@pytest.mark.parametrize("content", [GOOD, BAD])
def test_a_kill_at_any_point_of_the_helper_and_of_its_caller(content: bytes) -> None:
    """Root's helper writes files of its own; neither they nor its death may stand in the way."""
    setting = Setting(content=content, helped=True)
    (points,) = each([None], points_of, setting)
    name = f"one kill, root's helper, {content.decode()} model"
    seen = sweep(name, [(n,) for n in range(1, len(points) + 1)], kill, setting)
    assert bad(seen) == []
    assert all(one.as_meant for one in seen)
