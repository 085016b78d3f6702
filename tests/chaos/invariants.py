"""What must be true of a server at every moment, and after a recovery: the invariants I-1 to I-8.

Everything is judged from the disk, the store and the process table, as a stranger would see them: nothing
of the promoter is asked. A violation is a sentence; none is an empty list.
"""

import contextlib
import hashlib
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clm.engine.env_file import value_of
from tests.chaos.place import RUN, Place
from tests.promotion.server import KEY

MAX_ATTEMPTS = 2
MAX_STORES = 28
_ENDS = {
    "COMMITTED": ["model.promoted"],
    "ABORTED": ["model.promotion_ended"],
    "ROLLED_BACK": ["model.rolled_back", "model.rollback_initiated"],
}
"""The events for each end, in addition to the one for the start; each once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the store says."""

    promotions: Sequence[tuple[str, str, str, str, int | None, int, int]]
    """run, state, path, sha256, is_open, attempts, store_count; oldest first."""
    active: Sequence[tuple[str, str]]
    """path and sha256 of the models with is_active = 1."""
    events: Sequence[tuple[str, str, str]]
    """event id, type, run."""


def read_store(path: Path) -> Recorded:
    """Read the store without changing it.

    Raises:
        sqlite3.Error: it cannot be read, now (a lock) or at all.
    """
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
        connection.execute("BEGIN")
        return Recorded(
            promotions=connection.execute(
                "SELECT run_id, state, candidate_path, candidate_sha256, is_open, attempts, store_count "
                "FROM clm_promotions ORDER BY id"
            ).fetchall(),
            active=connection.execute(
                "SELECT file_path, sha256 FROM clm_models WHERE is_active = 1"
            ).fetchall(),
            events=connection.execute("SELECT event_id, event_type, trace_id FROM clm_outbox").fetchall(),
        )


def read_dead_store(path: Path) -> Recorded:
    """Read a store whose writer died: a copy, so that SQLite rolls back the copy and not the evidence."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        for suffix in ("", "-journal", "-wal"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                shutil.copy(part, scratch)
        copy = Path(scratch) / path.name
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"quick_check says {verdict}")
        return read_store(copy)


def always(place: Place, env_before: bytes, recorded: Recorded) -> list[str]:
    """Return the violations of I-1 to I-5, and of I-8 as far as the store shows them."""
    data = place.env_path.read_bytes()
    return [*_env(data, env_before, recorded), *_models(place, recorded), *_records(recorded)]


def _env(data: bytes, before: bytes, recorded: Recorded) -> list[str]:
    named = value_of(data, KEY)
    known = {path: sha for _, _, path, sha, *_ in recorded.promotions}
    found = []
    if named is None or named not in known:
        found.append(f"I-1 the environment file names {named}, which the store does not know")
    elif _sha256(Path(named)) != known[named]:
        found.append(f"I-1 {named} is named and is not the file that was recorded")
    was = value_of(before, KEY)
    if was is None or data.replace(f"{KEY}={named}".encode(), f"{KEY}={was}".encode()) != before:
        found.append("I-2 a byte of the environment file outside the value changed")
    return found


def _models(place: Place, recorded: Recorded) -> list[str]:
    found = []
    champion = [(path, sha) for _, state, path, sha, *_ in recorded.promotions if state == "COMMITTED"][-1]
    if _sha256(Path(champion[0])) != champion[1]:
        found.append(f"I-3 the champion {champion[0]} is gone or changed")
    known = {path: sha for _, _, path, sha, *_ in recorded.promotions}
    for path in place.models.iterdir():
        if path.name.startswith("."):
            continue
        sha = _sha256(path)
        if sha is not None and sha != known.get(str(path)):
            found.append(f"I-5 {path} is not whole, or nobody's")
    return found


def _records(recorded: Recorded) -> list[str]:
    found = []
    if len(recorded.active) != 1:
        found.append(f"I-4 {len(recorded.active)} models are active")
    if sum(1 for row in recorded.promotions if row[4]) > 1:
        found.append("I-4 more than one promotion is open")
    if any(row[5] > MAX_ATTEMPTS or row[6] > MAX_STORES for row in recorded.promotions):
        found.append("I-8 a candidate was tried more often than twice, or its row written more than 28 times")
    return found


def recovered(place: Place, env_before: bytes) -> list[str]:
    """Return what is violated of I-1 to I-8 now that nothing is under way."""
    recorded = read_dead_store(place.store)
    found = always(place, env_before, recorded)
    if any(row[4] for row in recorded.promotions):
        found.append(f"I-6 a promotion is open still: {recorded.promotions[-1][1]}")
    named = value_of(place.env_path.read_bytes(), KEY)
    if [path for path, _ in recorded.active] != [named]:
        found.append(f"I-6 {recorded.active} is recorded as active, {named} is named")
    if place.served() != named or not place.answers():
        found.append(f"I-6 the engine serves {place.served()}, {named} is named")
    left = [str(p) for p in place.root.rglob(".*.clm-*.tmp")]
    if left:
        found.append(f"I-6 left behind: {left}")
    committed = {path for _, state, path, *_ in recorded.promotions if state == "COMMITTED"}
    strangers = {str(p) for p in place.models.iterdir()} - committed
    if strangers:
        found.append(f"I-6 files of models that were not promoted: {sorted(strangers)}")
    return found + _events(recorded)


def _events(recorded: Recorded) -> list[str]:
    found = []
    for run, state, *_ in recorded.promotions:
        if run != RUN:
            continue
        told = Counter(kind for _, kind, trace in recorded.events if trace == run)
        if state not in _ENDS:
            found.append(f"I-7 it ended {state}")
        elif told != Counter(["model.promotion_started", *_ENDS[state]]):
            found.append(f"I-7 it ended {state} and the events are {dict(told)}")
    if len({event_id for event_id, _, _ in recorded.events}) != len(recorded.events):
        found.append("I-7 an event id is there twice")
    return found


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
