"""Many points on all cores, each in a place of its own worker, and a summary of what they showed."""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.chaos.disk import DiskPlace
from tests.chaos.figures import SUMMARIES, Summary
from tests.chaos.place import Place
from tests.promotion.server import free_port

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one point of a sweep showed."""

    where: str
    violations: tuple[str, ...]
    left: str
    """The state after the first kill: equal states need no second sweep of their own."""
    end: str
    looks: int
    as_meant: bool
    """Whether the kill or the fault hit; false where a process came to its end before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a place is like before each point."""

    content: bytes
    """First word of the candidate: how the engine behaves on it."""
    journal_mode: str = "delete"
    helped: bool = False
    """Whether root's helper makes the switch."""
    on_disk: bool = False
    """On an ext4 of its own, which can lose its power; else in memory."""


def sweep(
    title: str,
    jobs: Sequence[T],
    work: Callable[[Place, T], Seen],
    setting: Setting,
    *,
    workers: int | None = None,
    is_control: bool = False,
) -> list[Seen]:
    """Do the work for every job, keep its summary, and return what was seen in order."""
    began = time.monotonic()
    seen = each(jobs, work, setting, workers=workers)
    SUMMARIES.append(_summary(title, seen, time.monotonic() - began, is_control))
    return seen


def each(
    jobs: Sequence[T], work: Callable[[Place, T], R], setting: Setting, *, workers: int | None = None
) -> list[R]:
    """Return what the work returns for every job, each done in a place as the setting says."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    kind = DiskPlace if setting.on_disk else Place
    context = multiprocessing.get_context("fork")
    directories = [memory_directory() for _ in range(workers)]
    places = context.SimpleQueue()
    for directory in directories:
        places.put(kind(root=directory / "server", port=free_port()))
    try:
        with context.Pool(workers, _build, (places, setting)) as pool:
            return pool.map(partial(_at_place, work), jobs, chunksize=1)
    finally:
        for directory in directories:
            Place(root=directory / "server", port=0).engine.stop()
            shutil.rmtree(directory)


def _summary(title: str, seen: Sequence[Seen], seconds: float, is_control: bool) -> Summary:
    ends = ", ".join(f"{count} {end}" for end, count in Counter(one.end for one in seen).most_common())
    return Summary(
        title=title,
        seconds=seconds,
        points=len(seen),
        violations=sum(1 for one in seen if one.violations),
        is_control=is_control,
        detail=f"{sum(one.looks for one in seen)} looks of the watcher; {ends}",
    )


def bad(seen: Sequence[Seen]) -> list[str]:
    """Return the violations as an assertion shows them best."""
    return [f"{one.where} -> {one.end}: {'; '.join(one.violations)}" for one in seen if one.violations]


_PLACE: list[Place] = []
"""Of this worker."""


def _build(places: "multiprocessing.queues.SimpleQueue[Place]", setting: Setting) -> None:
    _PLACE.append(places.get())
    _PLACE[0].helped = setting.helped
    _PLACE[0].build(setting.content, setting.journal_mode)


def _at_place(work: Callable[[Place, T], R], job: T) -> R:
    return work(_PLACE[0], job)


def memory_directory() -> Path:
    """Return a new directory, in memory where that is possible: a kill loses nothing that was written."""
    shm = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="clm-chaos-", dir=shm if os.access(shm, os.W_OK) else None))
