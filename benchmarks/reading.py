"""How fast samples are read, side by side on one file, each way in a process of its own.

    python benchmarks/reading.py [--rows N] [--repeats N] [--json] [--check]

The ways:

pandas   read_sql, iterrows, json.loads a row, a list of lists to an array: how it used to be done
plain    a sqlite3 cursor and json.loads a row, the same columns kept, nothing checked
narrow   the same for features and class alone: the least that a training script can read
ours     SqliteSampleSource.read and parse_samples, every check on
growing  the same with a cache, after 1,000 rows came and 200 labels came late

The ways are interleaved and repeated; a figure is the best of its repeats, so that what else the machine
does weighs least. Seconds are of the processor, memory is the peak of resident memory beyond what the
process held before it began. --check exits 1 where a target is missed.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
NAMES = ("rsi", "ma_cross", "volatility", "returns_1h", "macd", "momentum", "volume_ratio", "bb_position")
SYMBOLS = ("ADAUSDT", "BNBUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")
COLUMNS = (
    "id, symbol, timestamp, features, feature_names, execution_side, entry_price, exit_price, exit_time, "
    "outcome_known, realized_pnl, target_class"
)
WRITTEN = COLUMNS.removeprefix("id, ") + ", predicted_action, prediction_score, prediction_confidence"
CUTOFF = datetime(2030, 1, 1, tzinfo=UTC)

TARGETS = {
    "times faster than pandas": 8.0,
    "times faster than plain": 1.6,
    "share of plain's memory": 0.25,
    "ms for 1,000 rows more": 50.0,
}


def rows_of(count: int, seed: int, *, open_share: float = 0.0) -> Iterator[tuple[object, ...]]:
    """Rows as the engine writes them: eight features of full precision, times to the microsecond."""
    rng = np.random.default_rng(seed)
    names = json.dumps(NAMES)
    begin = datetime(2024, 1, 1) + timedelta(days=seed)  # noqa: DTZ001  # naive UTC is what the store holds
    for first in range(0, count, 1000):
        features = rng.normal(size=(min(1000, count - first), len(NAMES)))
        figures = rng.normal(size=(len(features), 3)).tolist()
        is_open = (rng.random(len(features)) < open_share).tolist()
        for offset, (values, (pnl, entry, exit_)) in enumerate(zip(features.tolist(), figures, strict=True)):
            at = first + offset
            decided = begin + timedelta(seconds=60 * (at // 5), microseconds=at % 999_983 + 1)
            outcome = (None, None, 0, None, None)
            if not is_open[offset]:
                resolved = decided + timedelta(hours=2)
                outcome = (101 + exit_, str(resolved), 1, pnl, "WIN" if pnl > 0 else "LOSS")
            yield (
                SYMBOLS[at % 5], str(decided), json.dumps(values), names, "BUY" if at % 2 else "SELL",
                100 + entry, *outcome, "BUY", 0.7, 0.7,
            )  # fmt: skip


def write(path: Path, rows: Iterator[tuple[object, ...]]) -> None:
    """Append rows to the store."""
    places = ", ".join("?" * (WRITTEN.count(",") + 1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(f"INSERT INTO ai_training_samples ({WRITTEN}) VALUES ({places})", rows)  # noqa: S608
        connection.commit()


def by_pandas(path: Path) -> int:
    """Read as the old scripts did."""
    import pandas as pd

    with closing(sqlite3.connect(path)) as connection:
        frame = pd.read_sql(f"SELECT {COLUMNS} FROM ai_training_samples", connection)  # noqa: S608
    features, labels = [], []
    for _, row in frame.iterrows():
        features.append(json.loads(row["features"]))
        labels.append(1 if row["target_class"] == "WIN" else 0)
    return len(np.array(features)) + 0 * len(np.array(labels))


def by_plain(path: Path) -> int:
    """Read what a training needs with nothing but the standard library, unchecked."""
    kept: list[list[object]] = [[] for _ in range(10)]
    with closing(sqlite3.connect(path)) as connection:
        for row in connection.execute(f"SELECT {COLUMNS} FROM ai_training_samples"):  # noqa: S608
            (sample_id, symbol, timestamp, features, _, side, entry, exit_, exit_time, _, pnl, label) = row
            values = (
                sample_id, symbol, timestamp, json.loads(features), side == "BUY", entry, exit_, exit_time,
                pnl, label == "WIN",
            )  # fmt: skip
            for column, value in zip(kept, values, strict=True):
                column.append(value)
    arrays = [np.array(column) for column in kept]
    return len(arrays[3])


def by_narrow(path: Path) -> int:
    """Read features and class."""
    features, labels = [], []
    with closing(sqlite3.connect(path)) as connection:
        for text, label in connection.execute("SELECT features, target_class FROM ai_training_samples"):
            features.append(json.loads(text))
            labels.append(label == "WIN")
    return len(np.array(features)) + 0 * len(np.array(labels))


def by_ours(path: Path) -> int:
    """Read as a cycle does, without a cache."""
    from clm.data.reading import parse_samples
    from clm.store.samples import SqliteSampleSource

    table = parse_samples(SqliteSampleSource(path).read(None, 10**8), cutoff=CUTOFF)
    assert not table.rejected
    assert table.features_RC.shape == (len(table), len(NAMES))
    return len(table)


WAYS: dict[str, Callable[[Path], int]] = {
    "pandas": by_pandas, "plain": by_plain, "narrow": by_narrow, "ours": by_ours
}  # fmt: skip


def measure(way: str, path: Path) -> dict[str, float]:
    """Read in this process, once everything is imported."""
    if way == "pandas":
        import pandas  # noqa: F401
    if way == "ours":
        with tempfile.TemporaryDirectory() as directory:
            by_ours(new_store(Path(directory, "warm.db"), 3))
    before = resident_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    rows = WAYS[way](path)
    return {
        "rows": rows,
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": resident_mb("VmHWM") - before,
    }


def resident_mb(which: str) -> float:
    """Return the kernel's value; ru_maxrss would include the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def grow(path: Path, rounds: int = 7) -> dict[str, float]:
    """Read with a cache, again and again, a thousand rows more each time."""
    from clm.data.reading import parse_samples
    from clm.store.sample_cache import SampleCache
    from clm.store.samples import SqliteSampleSource

    cache = SampleCache(path.with_suffix(".cache"))

    def read() -> tuple[float, float, int]:
        began = time.perf_counter()
        columns = SqliteSampleSource(path, cache=cache).read(None, 10**8)
        was_read = time.perf_counter()
        table = parse_samples(columns, cutoff=CUTOFF)
        return was_read - began, time.perf_counter() - was_read, len(table)

    first = read()
    write(path, rows_of(400, 1000, open_share=1.0))
    read()
    times = []
    for number in range(rounds):
        write(path, rows_of(1000, 1001 + number, open_share=0.1))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "UPDATE ai_training_samples SET outcome_known = 1, exit_price = 101.5, realized_pnl = 1.5, "
                "target_class = 'WIN', exit_time = datetime(timestamp, '+3 hours') WHERE id IN "
                "(SELECT id FROM ai_training_samples WHERE outcome_known = 0 ORDER BY id DESC LIMIT 60)"
            )
            connection.commit()
        times.append(read())
    reading, table = sorted(t[0] for t in times), sorted(t[1] for t in times)
    return {
        "rows": times[-1][2],
        "first_s": first[0],
        "best_ms": reading[0] * 1e3,
        "median_ms": reading[len(reading) // 2] * 1e3,
        "table_best_ms": table[0] * 1e3,
    }


def new_store(path: Path, rows: int) -> Path:
    """A store of the existing shape."""
    from clm.store.create import create_store

    create_store(path)
    write(path, rows_of(rows, 0))
    return path


def in_a_child(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--store", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251  # a child needs the rest of it
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(rows: int, repeats: int, say: Callable[[str], None]) -> dict[str, object]:
    """Build a store, read it in every way, and return figures, ratios and what was to be reached."""
    with tempfile.TemporaryDirectory(prefix="clm-reading-") as directory:
        say(f"writing {rows:,} rows of {len(NAMES)} features")
        path = new_store(Path(directory, "store.db"), rows)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for repeat in range(repeats):
            for way, figures in runs.items():
                figures.append(in_a_child(way, path))
                told = figures[-1]
                say(
                    f"  {repeat + 1}. {way:8} {told['cpu_s']:7.2f} s of processor, "
                    f"{told['wall_s']:7.2f} s by the wall, {told['peak_mb']:6.0f} MB"
                )
        growing = in_a_child("growing", path)
    best = {way: {name: min(run[name] for run in kept) for name in kept[0]} for way, kept in runs.items()}
    ours = best["ours"]
    ratios = {
        "times faster than pandas": best["pandas"]["cpu_s"] / ours["cpu_s"],
        "times faster than plain": best["plain"]["cpu_s"] / ours["cpu_s"],
        "times faster than narrow": best["narrow"]["cpu_s"] / ours["cpu_s"],
        "share of plain's memory": ours["peak_mb"] / best["plain"]["peak_mb"],
        "ms for 1,000 rows more": growing["best_ms"],
    }
    reached = {
        name: ratios[name] >= bar if "faster" in name else ratios[name] <= bar
        for name, bar in TARGETS.items()
    }
    return {"rows": rows, "best": best, "growing": growing, "ratios": ratios, "reached": reached}


def main() -> int:
    """Run the comparison, or one way of it as a child."""
    parser = argparse.ArgumentParser(description="How fast samples are read.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        figures = grow(asked.store) if asked.way == "growing" else measure(asked.way, asked.store)
        print(json.dumps(figures))
        return 0
    progress = sys.stderr if asked.json else sys.stdout
    report = compare(asked.rows, asked.repeats, lambda line: print(line, file=progress, flush=True))
    if asked.json:
        print(json.dumps(report))
    else:
        show(report)
    reached: dict[str, bool] = report["reached"]  # type: ignore[assignment]
    return 1 if asked.check and not all(reached.values()) else 0


def show(report: dict[str, object]) -> None:
    """Print what was found."""
    ratios: dict[str, float] = report["ratios"]  # type: ignore[assignment]
    growing: dict[str, float] = report["growing"]  # type: ignore[assignment]
    for name, value in ratios.items():
        bar = TARGETS.get(name)
        told = "" if bar is None else f"   (to be reached: {bar:g})"
        print(f"{name:28} {value:8.2f}{told}")
    print(f"{'its median':28} {growing['median_ms']:8.2f}")
    print(f"{'ms to put the table together':28} {growing['table_best_ms']:8.2f}")


if __name__ == "__main__":
    sys.exit(main())
