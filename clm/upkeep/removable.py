"""Choose what may be removed: never a model in use, and otherwise the oldest first."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clm.ports import PromotionKind, PromotionRow, Reign

CHAMPIONS_KEPT = 4
"""The champion and the three before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """Something with an age: a registered model or a run."""

    name: str
    age_days: float


def models_in_use(
    reigns: Sequence[Reign],
    *,
    named: Path | None,
    running: Path | None,
    open_record: PromotionRow | None,
    pinned: str | None,
) -> frozenset[Path]:
    """Return the files to keep: those of the latest champions, and those named now.

    `named` is the environment file's value, `running` the running engine's.
    """
    # dict.fromkeys removes duplicates and keeps the order: a champion that returned counts once.
    latest = list(dict.fromkeys(reign.path for reign in reigns))[:CHAMPIONS_KEPT]
    in_use: set[Path | None] = {*latest, named, running}
    if open_record is not None:
        in_use |= {open_record.candidate_path, open_record.previous_path}
    in_use |= {reign.path for reign in reigns if reign.version == pinned}
    return frozenset(path for path in in_use if path is not None)


def surplus_models(reigns: Sequence[Reign], in_use: Collection[Path]) -> tuple[Reign, ...]:
    """Return former champions whose file may be removed, each path once; only files that we installed."""
    found = {
        reign.path: reign
        # Oldest first, so that the newest reign of a path wins; adopted files belong to an operator.
        for reign in reversed(reigns)
        if reign.path not in in_use and reign.kind in {PromotionKind.CYCLE, PromotionKind.PROMOTE}
    }
    return tuple(found.values())


def surplus(things: Iterable[Aged], *, kept: Collection[str], days: float, newest: int) -> tuple[str, ...]:
    """Return the names of items older than `days`, oldest first.

    The `newest` items always stay: a clock that jumped must not remove everything.
    """
    by_age = sorted(things, key=lambda thing: thing.age_days)
    old = [t.name for t in by_age[newest:] if t.age_days > days and t.name not in kept]
    return tuple(reversed(old))
