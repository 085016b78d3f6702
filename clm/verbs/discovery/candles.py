"""A file of candles: its symbols, interval, range and gaps."""

from pathlib import Path

from clm.clock import HOUR, SystemClock, from_micros, iso, to_micros
from clm.data.candles.checks import settle
from clm.data.candles.parsing import REQUIRED, by_symbol
from clm.data.candles.series import CandleReport
from clm.errors import DataError
from clm.store.candle_files import read_file, symbol_of
from clm.verbs.discovery.assets import Asset, printable

MAX_READ_BYTES = 200_000_000
"""Larger files are listed but not read: an inventory must take only seconds."""


def candle_asset(path: Path, size_bytes: int, header: str | None = None) -> Asset:
    """Return a candle table with its ranges, or why the file is not one."""

    def asset(kind: str, usable: bool, because: str, **details: object) -> Asset:
        return Asset(
            kind=kind,
            path=printable(path),
            size_bytes=size_bytes,
            usable=usable,
            because=because,
            details=details,
        )

    if header is not None:
        columns = {name.strip().strip('"').lower() for name in header.split(",")}
        if missing := [name for name in REQUIRED if name not in columns]:
            return asset("table", False, f"it lacks {', '.join(missing)}: neither candles nor samples")
    if size_bytes > MAX_READ_BYTES:
        return asset("candles", True, "candles by their columns; too large to examine here")
    try:
        parts, lost = by_symbol(read_file(path), symbol=symbol_of(path))
    except DataError as error:
        return asset("candles", False, error.message)
    now = to_micros(SystemClock().now())
    reports = [settle(symbol, [columns], now=now)[1] for symbol, columns in sorted(parts.items())]
    if not any(report.candles for report in reports):
        return asset("candles", False, "no candle in it is usable", symbols=[], rejected=dict(lost))
    return asset(
        "candles",
        True,
        "windows can be built from it: CLM_WINDOW_SOURCE=candles, CLM_CANDLES_DIR names its directory",
        symbols=[_series(report) for report in reports],
        rejected=dict(lost),
    )


def _series(report: CandleReport) -> dict[str, object]:
    there = report.candles > 0
    return {
        "symbol": report.symbol,
        "candles": report.candles,
        "interval_h": report.interval / HOUR if report.interval else None,
        "first": iso(from_micros(report.first_at)) if there else None,
        "last": iso(from_micros(report.last_at)) if there else None,
        "gaps": report.gaps,
        "missing": report.missing,
        "duplicates": report.duplicates,
        "rejected": dict(report.rejected),
    }
