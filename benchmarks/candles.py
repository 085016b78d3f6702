"""Candles: reading against pyarrow alone, and how the cost of each use grows with their number.

    python benchmarks/candles.py [--candles N] [--repeats N] [--json]

read       `CandleDirectory.read`, checks included, against pyarrow.csv.read_csv of the same file; interleaved
backfill   processor seconds of making samples, by number of candles
windows    processor seconds of building the windows of these samples, by number of candles
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pyarrow import csv

sys.path.insert(0, str(Path(__file__).parents[1]))

from clm.clock import SystemClock
from clm.data.candles.backfill import BackfillPolicy, backfill
from clm.data.candles.barriers import Barriers
from clm.data.candles.catalogue import DEFAULT_FEATURES, feature, features_of
from clm.data.candles.series import Candles
from clm.data.candles.windows import window_ends
from clm.store.candle_files import CandleDirectory

MINUTE_MS = 60_000
POLICY = BackfillPolicy(
    barriers=Barriers(take_profit=0.006, stop_loss=0.018, horizon=6),
    fee_bps=4.0,
    every=3,
    side="trend",
    features=DEFAULT_FEATURES,
)


def write(path: Path, n: int) -> None:
    """Write a random walk in the form of Binance's archive."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.0005, n)))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * (1 + np.abs(rng.normal(0, 0.0003, n)))
    low = np.minimum(opened, close) * (1 - np.abs(rng.normal(0, 0.0003, n)))
    times = 1_704_067_200_000 + MINUTE_MS * np.arange(n)
    rows = zip(times, opened, high, low, close, rng.lognormal(3, 1, n), strict=True)
    path.write_text(
        "\n".join(
            f"{t},{o:.8f},{h:.8f},{lo:.8f},{c:.8f},{v:.4f},{t + MINUTE_MS - 1},1,1,1,1,0"
            for t, o, h, lo, c, v in rows
        )
    )


def seconds(call: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def of_pyarrow(path: Path) -> object:
    """Read the table as a library does, with one thread and without a check."""
    return csv.read_csv(path, csv.ReadOptions(autogenerate_column_names=True, use_threads=False))


def ends_of(candles: Candles) -> None:
    """Find the window of every third candle."""
    (series,) = candles.series
    x_TC = features_of(series, [feature(name) for name in DEFAULT_FEATURES])
    window_ends(series, x_TC, series.closed_at_T[::3], 128)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What candles cost.")
    parser.add_argument("--candles", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    asked = parser.parse_args()
    report: dict[str, object] = {"candles": asked.candles, "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="clm-candles-") as name:
        path = Path(name) / "BTCUSDT-1m.csv"
        write(path, asked.candles)
        ways = {"ours": lambda: CandleDirectory(path.parent).read(), "pyarrow": lambda: of_pyarrow(path)}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(asked.repeats):
            for way, call in ways.items():
                taken[way].append(seconds(call))
        read = {way: statistics.median(kept) for way, kept in taken.items()}
        report["read_s"], report["read_vs_pyarrow"] = read, read["ours"] / read["pyarrow"]
        for use in ("backfill", "windows"):
            report[use] = {}
        for share in (8, 4, 2, 1):
            write(path, asked.candles // share)
            candles = CandleDirectory(path.parent, SystemClock()).read()
            now = SystemClock().now()
            report["backfill"][asked.candles // share] = seconds(  # type: ignore[index]
                lambda candles=candles, now=now: sum(1 for _ in backfill(candles, POLICY, now))
            )
            report["windows"][asked.candles // share] = seconds(  # type: ignore[index]
                lambda candles=candles: ends_of(candles)
            )
    print(json.dumps(report, indent=None if asked.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
