"""How fast a model answers, and whether what is streamed is what was trained on.

    python benchmarks/serving.py [--repeats N] [--symbols N] [--minutes N] [--json] [--check]

single    one window at a time through Predictor, on one thread: of rows, and of candles with their features
batch     512 raw windows at once, on one thread and on two, exact and coarse (bf16, `exact=False`)
products  the matrix products of as many windows and nothing else, in the same process: what this machine
          could do at best
stream    a day of minute candles of two hundred symbols through the rolling windows: how many of them differ
          in a single bit from the features of the whole series

Times of one prediction are of the processor and of the wall. Throughput is the best of interleaved repeats: a
second of one thread's processor, and a second of the wall on two threads, which means something only on a
machine that does nothing else. --check exits 1 where a target is missed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # its market is the tests'

BATCH = 512
TARGETS = {
    "rows p99 ms": 5.0,
    "candles p99 ms": 5.0,
    "coarse windows/s on two threads": 20_000.0,
    "windows that differ": 0.0,
}
FLOPS_A_WINDOW = 2 * 8 * (128 * 128 + 3 * (128 * 384 + 128 * 128 + 2 * 128 * 512 + 2 * 8 * 128))
"""8 patches through the embedding and three layers: 9.8 million."""


def predictors(directory: Path):
    """A model of rows and one of candles, fed; with a function that asks each once."""
    from clm.clock import HOUR, from_micros
    from clm.data.candles.catalogue import DEFAULT_FEATURES
    from clm.data.dataset import build_dataset
    from clm.serving.predictor import Predictor
    from tests.builders import data_policy
    from tests.data.candles.market import candles, series
    from tests.serving.served import registered
    from tests.serving.streaming import candle
    from tests.training import jobs

    table, dataset = jobs.table(), jobs.dataset()
    of_rows = Predictor.load(registered(directory / "rows", dataset).model_path, max_age_s=1e9)
    mine = np.flatnonzero(table.symbol_R == 0)[:200]
    for row in mine.tolist():
        features = dict(zip(table.feature_names, table.features_RC[row].tolist(), strict=True))
        of_rows.add_row("BTCUSDT", from_micros(table.decided_at_R[row]), features)

    last = table.decided_at_R.max()
    hourly = [
        replace(series(2000, symbol=symbol), opened_at_T=last - HOUR * np.arange(2000, 0, -1))
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    names = tuple(f"candle_{name}" for name in DEFAULT_FEATURES)
    policy = replace(data_policy(), window_source="candles", features=names)
    of_candles = Predictor.load(
        registered(directory / "candles", build_dataset(table, policy, candles(*hourly))).model_path
    )
    for number in range(2000):
        of_candles.add_candle("BTCUSDT", candle(hourly[0], number))
    now = from_micros(int(last))
    return {
        "rows": lambda: of_rows.predict("BTCUSDT", now),
        "candles": lambda: of_candles.predict("BTCUSDT", now),
    }, of_rows


def single(ask: Callable[[], object], predictions: int = 1000) -> dict[str, float]:
    """Milliseconds of single predictions."""
    cpu, wall = [], []
    for _ in range(predictions + 50):
        wall_before, cpu_before = time.perf_counter_ns(), time.thread_time_ns()
        answer = ask()
        cpu.append((time.thread_time_ns() - cpu_before) / 1e6)
        wall.append((time.perf_counter_ns() - wall_before) / 1e6)
        assert answer.p_win is not None, answer
    figures = {"cpu": np.array(cpu[50:]), "wall": np.array(wall[50:])}
    return {f"{kind} p{q}": float(np.percentile(ms, q)) for kind, ms in figures.items() for q in (50, 99)}


def batches(predictor, repeats: int) -> dict[str, float]:
    """Windows a second, of the model and of its matrix products alone."""
    windows = np.random.default_rng(0).normal(size=(BATCH, 128, 8)).astype(np.float32)
    ways: dict[str, tuple[Callable[[], float], Callable[[], object]]] = {
        "on one thread": (time.process_time, lambda: predictor.p_win(windows)),
        "products on one thread": (time.process_time, lambda: products(BATCH)),
        "coarse on one thread": (time.process_time, lambda: predictor.p_win(windows, exact=False)),
        "on two threads": (time.perf_counter, lambda: predictor.p_win(windows, threads=2)),
        "coarse on two threads": (
            time.perf_counter,
            lambda: predictor.p_win(windows, exact=False, threads=2),
        ),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(repeats):
        for name, (clock, ask) in ways.items():
            ask()
            began = clock()
            ask()
            best[name] = max(best[name], BATCH / (clock() - began))
    coarse_N, exact_N = (predictor.p_win(windows, exact=exact) for exact in (False, True))
    return {**best, "coarse is off by at most": float(np.abs(coarse_N - exact_N).max())}


def products(windows: int, at_once: int = 64) -> None:
    """Multiply what the network multiplies."""
    import torch

    tokens = at_once * 8
    sizes = [(128, 128), *([(128, 384), (128, 128), (128, 512), (512, 128)] * 3)]
    made = [(torch.ones(tokens, k), torch.ones(k, n), torch.empty(tokens, n)) for k, n in sizes]
    with torch.inference_mode():
        for _ in range(windows // at_once):
            for left, right, out in made:
                torch.mm(left, right, out=out)


def compare(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, object]:
    """Measure everything and return figures, and what was to be reached."""
    import torch

    from tests.serving.streaming import BEFORE, minutes, windows_that_differ

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="clm-serving-") as directory:
        asks, predictor = predictors(Path(directory))
        singles = {name: single(ask) for name, ask in asks.items()}
        say(f"one prediction, ms: {json.dumps(singles)}")
        many = batches(predictor, arguments.repeats)
        say(f"{BATCH} windows: {json.dumps(many)}")
    began = time.process_time()
    compared, differ = windows_that_differ(minutes(arguments.symbols, BEFORE + arguments.minutes))
    stream = {
        "windows": compared,
        "differ": differ,
        "cpu ms a window": 1e3 * (time.process_time() - began) / max(compared, 1),
    }
    say(f"stream: {json.dumps(stream)}")
    found = {
        "rows p99 ms": singles["rows"]["cpu p99"],
        "candles p99 ms": singles["candles"]["cpu p99"],
        "coarse windows/s on two threads": many["coarse on two threads"],
        "windows that differ": float(differ),
    }
    reached = {
        name: found[name] >= bar if "/s" in name else found[name] <= bar for name, bar in TARGETS.items()
    }
    return {
        "single": singles,
        "batch": many,
        "gflop_a_window": FLOPS_A_WINDOW / 1e9,
        "stream": stream,
        "found": found,
        "reached": reached,
    }


def main() -> int:
    """Measure, print the figures, and with --check fail if a target is missed."""
    parser = argparse.ArgumentParser(description="How fast a model answers.")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--minutes", type=int, default=24 * 60)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    report = compare(asked, lambda line: print(line, file=progress, flush=True))
    if asked.json:
        print(json.dumps(report))
    else:
        for name, bar in TARGETS.items():
            print(f"{name:28} {report['found'][name]:12.2f}   (to be reached: {bar:g})")
        share = report["batch"]["on one thread"] / report["batch"]["products on one thread"]
        print(f"{'share of the products, 1':28} {share:12.2f}")
    return 1 if asked.check and not all(report["reached"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
