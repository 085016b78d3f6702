"""A file of candles: its symbols, interval, range and gaps."""

from collections import Counter
from pathlib import Path

from clm.clock import HOUR, SystemClock, from_micros, iso, to_micros
from clm.data.candles.checks import settle
from clm.data.candles.forms import Misfit, columns_of
from clm.data.candles.parsing import CandleColumns, by_market
from clm.data.candles.series import CandleReport
from clm.errors import DataError
from clm.store.candle_tables import read_tables
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
        found = columns_of([name.strip().strip('"') for name in header.split(",")], "")
        if isinstance(found, Misfit):
            return asset("table", False, f"it {found.reason}: neither candles nor samples")
    if size_bytes > MAX_READ_BYTES:
        return asset("candles", True, "candles by their columns; too large to examine here")
    parts: dict[str, list[CandleColumns]] = {}
    lost: Counter[str] = Counter()
    now = to_micros(SystemClock().now())
    try:
        for raw in read_tables(path):
            columns, rejected = by_market(raw)
            lost += rejected
            for market, found_parts in columns.items():
                parts.setdefault(market, []).extend(found_parts)
        reports = [settle(market, columns_, now=now)[1] for market, columns_ in sorted(parts.items())]
    except DataError as error:
        return asset("candles", False, error.message)
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
