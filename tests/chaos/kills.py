"""SIGKILL at every point of a promotion, and again at every point of the recovery."""

import json
from collections.abc import Sequence

from tests.chaos.invariants import always, read_dead_store, recovered
from tests.chaos.place import Place, child, ended, promote, recover
from tests.chaos.sweep import Seen
from tests.chaos.watcher import watched


def points_of(place: Place, _job: None = None) -> tuple[str, ...]:
    """Return every point of one undisturbed promotion."""
    place.reset()
    return ended(child(place, promote)).points


def points_of_recovery(place: Place, kill_at: int) -> tuple[str, ...]:
    """Return every point of the recovery that follows a kill."""
    place.reset()
    ended(child(place, promote, kill_at))
    return ended(child(place, recover)).points


def kill(place: Place, kills: Sequence[int]) -> Seen:
    """Kill a promotion, and its recoveries, at these points; then recover, and recover again."""
    place.reset()
    before = place.env_path.read_bytes()
    where, violations, left, killed = [], [], "", True
    with watched(place, before) as watch:
        for work, kill_at in zip((promote, *[recover] * len(kills)), kills, strict=False):
            end = ended(child(place, work, kill_at))
            where.append(f"{work.__name__} {kill_at}: {end.points[-1] if end.points else '-'}")
            killed = killed and end.killed
            violations += always(place, before, read_dead_store(place.store))
            left = left or json.dumps(place.state(), sort_keys=True)
        outcome, found = brought_to_its_end(place, before)
    violations += found
    return Seen(
        where=" | ".join(where),
        violations=(*violations, *watch.violations),
        left=left,
        end=outcome,
        looks=watch.looks,
        as_meant=killed,
    )


def brought_to_its_end(place: Place, before: bytes) -> tuple[str, list[str]]:
    """Recover, and once more, which must change nothing; return the outcome and what is violated."""
    end = ended(child(place, recover))
    violations = recovered(place, before)
    state = place.state()
    ended(child(place, recover))
    if place.state() != state:
        violations.append("I-8 a second recovery changed something")
    return end.outcome, violations
