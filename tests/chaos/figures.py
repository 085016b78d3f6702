"""What a sweep and a part of `make chaos` report at their end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The result of one sweep."""

    title: str
    seconds: float
    points: int = 0
    violations: int = 0
    is_control: bool = False
    """The code was broken on purpose, so violations are what the sweep has to find."""
    detail: str = ""

    def __str__(self) -> str:
        points = f"{self.points} points, {self.violations} with violations, " if self.points else ""
        return f"{self.title}: {points}{self.seconds:.0f} s" + (f" ({self.detail})" if self.detail else "")


SUMMARIES: list[Summary] = []
"""Of the sweeps of this run, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The counts of one part."""

    tests: int
    failed: int
    skipped: int
    points: int
    violations: int
    """Points with a violation, without those of the controls."""


def figures_of(outcomes: Mapping[str, Sequence[object]], summaries: Sequence[Summary]) -> Figures:
    """Count what pytest's terminal reporter collected, and the points of the sweeps."""
    failed = len([*outcomes.get("failed", ()), *outcomes.get("error", ())])
    good = sum(len(outcomes.get(outcome, ())) for outcome in ("passed", "xfailed"))
    return Figures(
        tests=good + failed,
        failed=failed,
        skipped=len(outcomes.get("skipped", ())),
        points=sum(one.points for one in summaries),
        violations=sum(one.violations for one in summaries if not one.is_control),
    )


def write_figures(path: Path, figures: Figures) -> None:
    path.write_text(json.dumps(asdict(figures)))


def read_figures(path: Path) -> Figures | None:
    """Return the figures of a part, or None if its tests ended before they were written."""
    return Figures(**json.loads(path.read_text())) if path.exists() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one part ended."""

    part: str
    code: int
    """Exit status of pytest; negative: the signal that ended it."""
    seconds: float
    figures: Figures | None

    @property
    def result(self) -> str:
        """Return the last column of the table."""
        return {0: "ok", 1: "FAILED", 5: "NO TESTS"}.get(self.code, f"ENDED WITH {self.code}")


def table(ended: Sequence[Ended]) -> str:
    """Return one row for each part that was started."""
    names = [field.name for field in fields(Figures)]
    rows = [["part", *names, "seconds", "result"]]
    for one in ended:
        counts = (
            ["-" for _ in names] if one.figures is None else [str(n) for n in asdict(one.figures).values()]
        )
        rows.append([one.part, *counts, f"{one.seconds:.0f}", one.result])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
