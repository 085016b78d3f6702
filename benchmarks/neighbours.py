"""How busy neighbours slow a training, and how a training slows the engine on the same machine.

    python benchmarks/neighbours.py [--repeats N] [--seconds S] [--requests N] [--json]

A training process repeatedly trains the engine's network for some seconds, alone and together with two
processes that each keep a core busy (niceness 0; they end by themselves). A figure is the slowdown by these
processes, the median of the repeats. The variants take turns:

one thread        as the training child runs: one thread, the batch class, not nicer than others
two threads       that wait for each other for a moment before they sleep
two that spin     two threads as they come by default
two that sleep    two that sleep at once
nice 10, nice 19  one thread that is nicer than others

The engine is a process that answers a request every 15 ms with 3 ms of work; p99 of its latency with a way of
training beside it, over p99 without any. Everything runs in one session and one control group, so that
niceness and classes decide. Wall time is what is asked for here: on a machine that is busy with something
else the figures say little.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from clm.children.process import threads_environment  # noqa: E402  the path comes first

SPINNING = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
WAYS: Mapping[str, tuple[int, int, bool, Mapping[str, str]]] = {
    "one thread": (1, 0, True, threads_environment(1)),
    "two threads": (2, 0, True, threads_environment(2)),
    "two that spin": (2, 0, False, SPINNING),
    "two that sleep": (2, 0, True, {**SPINNING, "GOMP_SPINCOUNT": "0"}),
    "nice 10": (1, 10, True, threads_environment(1)),
    "nice 19": (1, 19, True, threads_environment(1)),
}
"""Threads, niceness, whether of the batch class, environment."""
BESIDE_THE_ENGINE = ("one thread", "nice 19")
BUSY = (
    "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end:\n    pass"
)
PAUSE_S, WORK_S = 0.012, 0.003


class Helper:
    """This file as another process that answers a line with a line."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env={"PATH": os.defpath, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.ask("")

    def ask(self, line: str) -> str:
        """Return the answer."""
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        """Ask without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def hear(self) -> str:
        """Wait for the answer."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        """Close its input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve_training(threads: int, niceness: int, batch_class: bool) -> None:
    """Answer each number of seconds with the windows a second that were trained in it."""
    if batch_class:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(niceness)
    import torch

    from clm.models.catalogue import architecture
    from clm.training.loop import fit
    from clm.training.windows import Part, Windows
    from tests.builders import training_spec

    class Enough(Exception):
        """The time is up."""

    torch.set_num_threads(threads)
    windows = Windows(values_RC=torch.randn(256, 8), context_length=128)
    part = Part(row_N=torch.arange(128, 256), label_N=(torch.arange(128) % 2).float())
    few = Part(row_N=part.row_N[:2], label_N=part.label_N[:2])
    spec = training_spec(epochs=1_000_000, patience=1_000_000, batch_size=128)

    def train(seconds: float) -> float:
        """Train epochs of one step and return the windows a second."""
        began, steps = time.monotonic(), 0

        def count(_report: object) -> None:
            nonlocal steps
            steps += 1
            if time.monotonic() - began >= seconds:
                raise Enough

        with contextlib.suppress(Enough):
            fit(architecture("engine").build(0.1), windows, part, few, spec, count)
        return 128 * steps / (time.monotonic() - began)

    train(0.5)
    print("ready", flush=True)
    sys.stdin.readline()
    for line in sys.stdin:
        print(train(float(line)), flush=True)


def serve_requests() -> None:
    """Answer each line after a fixed amount of work, about 3 ms of a core that nobody else wants."""

    def work(rounds: int) -> float:
        total = 0.0
        for value in range(rounds):
            total += value * 0.5
        return total

    rounds, took = 1000, 0.0
    while took < WORK_S:
        rounds = int(rounds * 1.3)
        took = min(_seconds(partial(work, rounds)) for _ in range(5))
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in sys.stdin:
        work(rounds)
        print("done", flush=True)


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def rates(trainer: Helper, seconds: float) -> tuple[float, float]:
    """Return the windows a second alone, and beside two busy processes."""
    alone = float(trainer.ask(f"{seconds}"))
    # They end by themselves, whatever becomes of us.
    busy = [subprocess.Popen([sys.executable, "-c", BUSY, f"{30 * seconds}"]) for _ in range(2)]
    try:
        time.sleep(0.2)
        return alone, float(trainer.ask(f"{seconds}"))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def latencies(engine: Helper, requests: int) -> list[float]:
    """Return the seconds of so many requests."""
    taken = []
    for _ in range(requests):
        time.sleep(PAUSE_S)
        taken.append(_seconds(lambda: engine.ask("predict")))
    return taken


def p99(taken: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(taken, n=100)[98]


def measure(repeats: int, seconds: float, requests: int, say: Callable[[str], None]) -> dict[str, object]:
    """Run every way in turn."""
    trainers = {
        name: Helper("--train", str(threads), str(nice), str(int(batch)), environment=environment)
        for name, (threads, nice, batch, environment) in WAYS.items()
    }
    engine = Helper("--engine")
    alone: dict[str, list[float]] = {name: [] for name in WAYS}
    slower: dict[str, list[float]] = {name: [] for name in WAYS}
    quiet: list[float] = []
    beside: dict[str, list[float]] = {name: [] for name in BESIDE_THE_ENGINE}
    for repeat in range(repeats):
        for name, trainer in trainers.items():
            by_itself, beside_them = rates(trainer, seconds)
            alone[name].append(by_itself)
            slower[name].append(by_itself / beside_them)
        quiet.append(p99(latencies(engine, requests)))
        for name, kept in beside.items():
            trainers[name].tell(f"{requests * (PAUSE_S + 2 * WORK_S)}")
            kept.append(p99(latencies(engine, requests)))
            trainers[name].hear()
        say(f"  {repeat + 1} of {repeats}")
    for helper in (*trainers.values(), engine):
        helper.end()
    return {
        "times_longer_beside_two_busy_processes": {n: statistics.median(s) for n, s in slower.items()},
        "windows_a_second_alone": {name: statistics.median(rate) for name, rate in alone.items()},
        "engine_p99_ms_alone": 1000 * statistics.median(quiet),
        "engine_p99_ratio": {
            name: statistics.median(with_it / without for with_it, without in zip(kept, quiet, strict=True))
            for name, kept in beside.items()
        },
        "cores": len(os.sched_getaffinity(0)),
    }


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="A training and its neighbours.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    parser.add_argument("--train", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--engine", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        serve_training(asked.train[0], asked.train[1], bool(asked.train[2]))
        return 0
    if asked.engine:
        serve_requests()
        return 0
    progress = sys.stderr if asked.json else sys.stdout
    report = measure(
        asked.repeats, asked.seconds, asked.requests, lambda line: print(line, file=progress, flush=True)
    )
    if asked.json:
        print(json.dumps(report))
        return 0
    for name, times in report["times_longer_beside_two_busy_processes"].items():
        ratio = report["engine_p99_ratio"].get(name)
        rate = report["windows_a_second_alone"][name]
        print(
            f"{name:16} {rate:6.0f} windows/s alone {times:6.1f} x longer"
            + (f"   engine p99 {ratio:.2f} x" if ratio else "")
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
