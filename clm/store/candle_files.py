"""Candles from a directory of files: CSV, CSV.gz, and Parquet where pyarrow is installed.

DataError  CANDLES_MISSING CANDLES_UNREADABLE CANDLES_COLUMNS CANDLES_MIXED_INTERVALS CANDLES_TOO_BIG
           CANDLES_NEED_PYARROW
"""

import csv
import gzip
import importlib
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clm.clock import SECOND, SystemClock, to_micros
from clm.data.candles.checks import interval_of, settle
from clm.data.candles.parsing import PRICES, REQUIRED, CandleColumns, RawCandles, by_symbol, parse_csv
from clm.data.candles.series import Candles
from clm.errors import DataError
from clm.ports import Clock

SUFFIXES = (".csv", ".csv.gz", ".parquet")
MAX_FILE_BYTES = 1_000_000_000
"""Uncompressed; about twelve million candles."""
_ENOUGH_TO_TELL = 10
"""Minimum candles of a symbol in a file for which their most common step counts as their interval."""
_PAIR = re.compile(r"[A-Za-z0-9]+")


class CandleDirectory:
    """Fulfils ports.CandleSource."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._clock = clock or SystemClock()

    def read(self) -> Candles:
        """Return all candles of the directory, validated.

        Raises:
            DataError: any code listed in the module docstring.
        """
        parts: dict[str, list[CandleColumns]] = {}
        intervals: dict[int, str] = {}
        rejected: Counter[str] = Counter()
        for path in candle_files(self._directory):
            found, lost = by_symbol(read_file(path), symbol=symbol_of(path), written_at=_written_at(path))
            rejected += lost
            for symbol, columns in found.items():
                parts.setdefault(symbol, []).append(columns)
                if len(columns.opened_at_T) >= _ENOUGH_TO_TELL:
                    interval = interval_of(columns.opened_at_T)
                    intervals.setdefault(interval, f"{symbol} in {path.name}")
        _require_one_interval(self._directory, intervals)
        now = to_micros(self._clock.now())
        settled = [settle(symbol, parts[symbol], now=now) for symbol in sorted(parts)]
        reports = tuple(report for _, report in settled)
        return Candles(
            series=tuple(series for series, _ in settled if series is not None),
            reports=reports,
            rows_read=rejected.total() + sum(report.rows_read for report in reports),
            rejected=dict(sorted(sum((Counter(report.rejected) for report in reports), rejected).items())),
        )


def candle_files(directory: Path) -> tuple[Path, ...]:
    """Return the files of a directory whose names are those of candle files, sorted.

    Raises:
        DataError: CANDLES_MISSING.
    """
    try:
        files = sorted(path for path in directory.iterdir() if path.name.lower().endswith(SUFFIXES))
    except OSError as exc:
        raise DataError(
            "CANDLES_MISSING", f"{directory} cannot be listed: {exc.strerror}; set CLM_CANDLES_DIR"
        ) from exc
    if not files:
        raise DataError(
            "CANDLES_MISSING",
            f"{directory} holds no {', '.join(SUFFIXES)}; set CLM_CANDLES_DIR to where the candles lie",
        )
    return tuple(files)


def symbol_of(path: Path) -> str:
    """Return the symbol that a file's name begins with: BTCUSDT of `BTCUSDT_1h.csv.gz`."""
    begins = _PAIR.match(path.name)
    return begins.group().upper() if begins else path.name.upper()


def read_file(path: Path) -> RawCandles:
    """Return the columns of one file.

    Raises:
        DataError: CANDLES_UNREADABLE, CANDLES_COLUMNS, CANDLES_TOO_BIG, CANDLES_NEED_PYARROW.
    """
    name = path.name.lower()
    raw = _read_parquet(path) if name.endswith(".parquet") else _read_csv(path, packed=name.endswith(".gz"))
    if isinstance(raw, RawCandles):
        return raw
    raise DataError(
        "CANDLES_COLUMNS",
        f"{path} lacks the columns {', '.join(raw)}; a candle file has {', '.join(REQUIRED)}",
    )


def _read_csv(path: Path, *, packed: bool) -> RawCandles | tuple[str, ...]:
    try:
        with gzip.open(path) if packed else path.open("rb") as handle:
            # Bounded also for gzip: a small file can unpack to any size.
            data = handle.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise DataError(
                "CANDLES_TOO_BIG",
                f"{path} is more than {MAX_FILE_BYTES:,} bytes; split it, one file a symbol",
            )
        return parse_csv(data.decode("utf-8-sig").splitlines())
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as exc:
        raise DataError(
            "CANDLES_UNREADABLE", f"{path} cannot be read: {exc}; download it again, or remove it"
        ) from exc


def _read_parquet(path: Path) -> RawCandles | tuple[str, ...]:
    try:
        # Imported here: pyarrow is optional and large, and most directories hold CSV.
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as exc:
        raise DataError(
            "CANDLES_NEED_PYARROW",
            f"{path} is Parquet, which needs pyarrow; install quantum-clm[parquet], or store it as CSV",
        ) from exc
    try:
        names = {name.lower(): name for name in parquet.read_schema(path).names}
        if missing := tuple(name for name in REQUIRED if name not in names):
            return missing
        wanted = [name for name in (*REQUIRED, "symbol") if name in names]
        table = parquet.read_table(path, columns=[names[name] for name in wanted])
        columns = {name: _column(arrow, name, table.column(names[name])) for name in wanted}
    except (OSError, arrow.ArrowException) as exc:
        raise DataError("CANDLES_UNREADABLE", f"{path} cannot be read: {exc}; download it again") from exc
    return RawCandles(columns=columns)


def _column(arrow: Any, name: str, column: Any) -> Sequence[object]:
    if name in PRICES and (arrow.types.is_floating(column.type) or arrow.types.is_integer(column.type)):
        # A missing number becomes NaN, which validation rejects.
        numbers: Any = column.cast(arrow.float64()).combine_chunks().to_numpy(zero_copy_only=False)
        return numbers  # type: ignore[no-any-return]  # an array serves as a sequence here
    if arrow.types.is_timestamp(column.type):
        column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
    values: Sequence[object] = column.to_pylist()
    return values


def _written_at(path: Path) -> int:
    return round(path.stat().st_mtime * SECOND)


def _require_one_interval(directory: Path, intervals: Mapping[int, str]) -> None:
    if len(intervals) > 1:
        shown = "; ".join(f"{interval / SECOND:g} s for {where}" for interval, where in intervals.items())
        raise DataError(
            "CANDLES_MIXED_INTERVALS",
            f"{directory} holds candles of several intervals ({shown}); give each its own directory",
        )
