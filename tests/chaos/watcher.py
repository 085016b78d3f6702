"""A process that looks at the server about every millisecond and remembers what it must never see."""

import contextlib
import json
import os
import select
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.invariants import always, read_store
from tests.chaos.place import Place

_PAUSE_S = 0.001


@dataclass(slots=True, kw_only=True)
class Watch:
    """What was seen, filled in when the watching ends."""

    looks: int = 0
    """Complete looks; those that met a lock or a rename are not counted."""
    violations: list[str] = field(default_factory=list)


@contextlib.contextmanager
def watched(place: Place, env_before: bytes) -> Iterator[Watch]:
    """Watch I-1 to I-5 from another process while the block runs."""
    results, told = os.pipe()
    stop, stopping = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(stopping)
        try:
            _watch(place, env_before, stop, told)
        finally:
            os._exit(0)
    os.close(told)
    os.close(stop)
    watch = Watch()
    try:
        yield watch
    finally:
        os.close(stopping)
        with os.fdopen(results, "rb") as reader:
            seen = reader.read()
        os.waitpid(pid, 0)
        answer = json.loads(seen) if seen else {"looks": 0, "violations": ["the watcher died"]}
        watch.looks, watch.violations = answer["looks"], answer["violations"]


def _watch(place: Place, env_before: bytes, stop: int, told: int) -> None:
    looks, violations = 0, set()
    while not select.select([stop], [], [], _PAUSE_S)[0]:
        try:
            recorded, data = read_store(place.store), place.env_path.read_bytes()
            found = always(place, env_before, recorded)
            if (read_store(place.store), place.env_path.read_bytes()) != (recorded, data):
                continue  # no moment in which all of it was there at once
        except sqlite3.Error:
            continue  # a lock, or a journal that only a writer may roll back
        looks += 1
        violations.update(f"{sentence} (seen by the watcher)" for sentence in found)
    os.write(told, json.dumps({"looks": looks, "violations": sorted(violations)}).encode())
