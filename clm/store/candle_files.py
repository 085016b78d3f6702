"""Candles from a directory of files, in the forms in which exchanges and programs write them.

DataError  CANDLES_MISSING CANDLES_UNREADABLE CANDLES_COLUMNS CANDLES_MIXED_INTERVALS CANDLES_TOO_BIG
           CANDLES_TWO_MARKETS CANDLES_SWAPPED
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from clm.clock import SECOND, SystemClock, to_micros
from clm.data.candles.checks import interval_of, settle
from clm.data.candles.file_names import read_file_name
from clm.data.candles.parsing import CandleColumns, by_market
from clm.data.candles.series import Candles
from clm.errors import DataError
from clm.ports import Clock
from clm.store.candle_tables import SUFFIXES, read_tables
from clm.store.memory import give_back

_ENOUGH_TO_TELL = 10
"""Minimum candles of a symbol in a file for which their most common step counts as their interval."""
_MOST_FILES = 100_000
"""A directory with more files is not one of candles."""


class CandleDirectory:
    """Fulfils ports.CandleSource."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._clock = clock or SystemClock()

    def read(self) -> Candles:
        """Return all candles of the directory and the directories in it, validated.

        Raises:
            DataError: any code listed in the module docstring.
        """
        parts: dict[str, list[CandleColumns]] = {}
        intervals: dict[int, str] = {}
        rejected: Counter[str] = Counter()
        examples: dict[str, str] = {}
        files, passed_over = candle_files(self._directory)
        for raw in (raw for path in files for raw in read_tables(path)):
            found, lost = by_market(raw)
            rejected += lost
            examples = {**raw.examples, **examples}
            for symbol, columns in found.items():
                parts.setdefault(symbol, []).extend(columns)
                interval = interval_of(columns[0].opened_at_T)
                if len(columns[0].opened_at_T) >= _ENOUGH_TO_TELL:
                    intervals.setdefault(interval, f"{symbol} in {raw.source}")
        _require_one_interval(self._directory, intervals)
        now = to_micros(self._clock.now())
        settled = [settle(symbol, parts.pop(symbol), now=now) for symbol in sorted(parts)]
        reports = tuple(report for _, report in settled)
        give_back()
        return Candles(
            series=tuple(series for series, _ in settled if series is not None),
            reports=reports,
            rows_read=rejected.total() + sum(report.rows_read for report in reports),
            rejected=dict(sorted(sum((Counter(report.rejected) for report in reports), rejected).items())),
            examples=examples,
            passed_over=passed_over,
        )


def candle_files(directory: Path) -> tuple[tuple[Path, ...], dict[str, int]]:
    """Return the candle files below a directory, sorted, and how many others there are, by what they are.

    Raises:
        DataError: CANDLES_MISSING.
    """
    try:
        everything = [path for path, _ in zip(directory.rglob("*"), range(_MOST_FILES + 1), strict=False)]
        names = [path for path in everything if not path.is_dir() or path.name.lower().endswith(SUFFIXES)]
        if not directory.is_dir():
            raise FileNotFoundError(2, "No such file or directory")
        list(directory.iterdir())
    except OSError as exc:
        raise DataError(
            "CANDLES_MISSING", f"{directory} cannot be listed: {exc.strerror}; set CLM_CANDLES_DIR"
        ) from exc
    files, passed_over = [], Counter[str]()
    for path in names:
        if not path.name.lower().endswith(SUFFIXES):
            passed_over[path.suffix.lower() or path.name] += 1
        elif read_file_name(path.name).other_prices:
            passed_over["mark, funding or trades"] += 1
        else:
            files.append(path)
    if not files or len(everything) > _MOST_FILES:
        why = f"more than {_MOST_FILES:,} files" if files else f"no {', '.join(SUFFIXES)}"
        raise DataError(
            "CANDLES_MISSING", f"{directory} holds {why}; set CLM_CANDLES_DIR to the directory of the candles"
        )
    return tuple(sorted(files)), dict(sorted(passed_over.items()))


def _require_one_interval(directory: Path, intervals: Mapping[int, str]) -> None:
    if len(intervals) > 1:
        shown = "; ".join(f"{interval / SECOND:g} s for {where}" for interval, where in intervals.items())
        raise DataError(
            "CANDLES_MIXED_INTERVALS",
            f"{directory} holds candles of several intervals ({shown}); give each its own directory",
        )
