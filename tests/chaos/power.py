"""The power fails at a point of a promotion: what had not reached the disk is gone, and every process too."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from clm.store import connection as store_engine
from tests.chaos.disk import DiskPlace
from tests.chaos.invariants import always, read_dead_store
from tests.chaos.kills import brought_to_its_end
from tests.chaos.place import GOOD, RUN, Ended, child, ended, promote, wait_for
from tests.chaos.sweep import Seen
from tests.promotion.server import KEY

_ORDER = {
    "PREPARED": 0,
    "STAGED": 1,
    "SWITCHING": 2,
    "RESTARTING": 3,
    "ROLLING_BACK": 4,
    "COMMITTED": 5,
    "ROLLED_BACK": 5,
    "ABORTED": 5,
}


def cut(place: DiskPlace, at: int, work: Callable[[DiskPlace], str] = promote) -> Seen:
    """Promote, lose the power at this point, come up again, recover."""
    place.reset()
    before = place.env_path.read_bytes()
    end = ended(child(place, partial(_beside_the_engine, work), at, dying=place.lose_power))
    place.power_up()
    try:
        violations = [*_forgotten(place, end), *always(place, before, read_dead_store(place.store))]
        # The machine starts the engine on whatever is named, before anything of ours runs.
        place.engine.restart()
        named = Path(str(place.named()))
        if named.read_bytes().startswith(GOOD):
            wait_for(place.answers, "the engine to come up")
            if place.served() != str(named):
                violations.append(f"H15 the engine came up on {place.served()}, {KEY} is {named}")
        outcome, found = brought_to_its_end(place, before)
    except Exception as error:  # noqa: BLE001  a control breaks things so that not even this works
        outcome, found, violations = "-", [f"it does not come up: {type(error).__name__} {error}"], []
    return Seen(
        where=f"power lost at {at}: {end.points[-1] if end.points else '-'}",
        violations=(*violations, *found),
        left="",
        end=outcome,
        looks=0,
        as_meant=end.killed,
    )


def _forgotten(place: DiskPlace, end: Ended) -> list[str]:
    """Return what had been acknowledged as stored and is not in the store."""
    told = [point.upper() for point in end.points if point.upper() in _ORDER]
    stored = [state for run, state, *_ in read_dead_store(place.store).promotions if run == RUN]
    if told and (not stored or _ORDER[stored[-1]] < _ORDER[told[-1]]):
        return [f"A9 {told[-1]} had been stored, the store says {stored[-1] if stored else 'nothing'}"]
    return []


def _beside_the_engine(work: Callable[[DiskPlace], str], place: DiskPlace) -> str:
    """Work while somebody else has the store open, as the trading engine always has.

    The last process that closes a WAL store checkpoints and syncs it: alone on the store even
    commits without a sync would outlive the power.
    """
    with closing(sqlite3.connect(place.store)) as neighbour:
        neighbour.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return work(place)


def promote_without_syncs(place: DiskPlace) -> str:
    """Promote with every fsync of ours left out."""
    os.fsync = lambda _handle: None
    return promote(place)


def _promote_with(level: str, place: DiskPlace) -> str:
    store_engine._durable_synchronous = lambda _connection: level
    return promote(place)


promote_with_normal = partial(_promote_with, "NORMAL")
promote_with_full = partial(_promote_with, "FULL")
cut_without_syncs = partial(cut, work=promote_without_syncs)
cut_with_normal = partial(cut, work=promote_with_normal)
cut_with_full = partial(cut, work=promote_with_full)
