"""The whole job, from process start to verdict: `clm run` compared with a usual training script.

    python benchmarks/job.py [--windows N] [--repeats N] [--learning-rate RATE] [--all-epochs] [--json]

Both get the same store of simulated trades and all cores. Ours is `clm run --no-promote` with its default
settings and all that it starts: reading with every check, audits, signal floor, training with early stopping,
proof of the file in a fresh process, eleven gates with their intervals, the proof pack. What follows a
rejection, its diagnosis and the tries of other settings, is left out: the verdict stands by then. The script
is benchmarks/reference/old_script.py, whose docstring names its choices; with --all-epochs it stops for
nothing, as a script does that knows no early stopping. The store has our tables before; there is no cache of
its samples.

The ways are interleaved; a figure is the median. Wall time depends on what else the machine does. So does the
processor time of the script, whose threads wait for each other by spinning: measure on a machine at rest.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clm.clock import SystemClock
from clm.data.simulator import simulate
from clm.settings import Settings
from clm.store.create import create_store, insert_samples

ROOT = Path(__file__).parents[1]
LENGTH, SYMBOLS, SIGNAL = 128, 5, 2.0
VERDICT = {"CLM_TUNING__TRIALS": "0", "CLM_DIAGNOSIS__BUDGET_S": "0"}
"""Ends with the verdict."""

Command = tuple[list[str], Mapping[str, str]]


def write_store(path: Path, n_windows: int) -> None:
    """Write trades of which so many close a window, but for a few that are open or neither won nor lost."""
    until = SystemClock().now().replace(minute=0, second=0, microsecond=0)
    count = n_windows + (LENGTH - 1) * SYMBOLS
    create_store(path)
    samples = simulate(seed=20, n_samples=count, until=until, n_symbols=SYMBOLS, signal=SIGNAL)
    insert_samples(path, (sample.as_row() for sample in samples))


def ours(store: Path, place: Path, settings: Mapping[str, str]) -> Command:
    """Return a run in an empty state directory."""
    root = place / "root"
    shutil.rmtree(root, ignore_errors=True)
    data = root / "opt/quantum/data/quantum_trader.db"
    env_file = root / "etc/quantum/ai-engine.env"
    for directory in (data.parent, env_file.parent, root / "opt/quantum/ai_engine/models"):
        directory.mkdir(parents=True)
    (root / "var/lib/quantum-clm").mkdir(parents=True)
    shutil.copy(store, data)
    env_file.write_text("PATCHTST_SHADOW_ONLY=true\n")
    engine = {"CLM_ENGINE__CONTROL": "process", "CLM_ENGINE__COMMAND": "true"}
    environment = {"PATH": os.defpath, "CLM_ROOT": str(root), **engine, **VERDICT, **settings}
    return [sys.executable, "-P", "-m", "clm", "run", "--no-promote", "--json"], environment


def script(store: Path, place: Path, options: list[str]) -> Command:
    """Return a run of the script."""
    program = str(ROOT / "benchmarks/reference/old_script.py")
    return [sys.executable, program, str(store), str(place / "model.pth"), *options], {"PATH": os.defpath}


def timed(command: list[str], environment: Mapping[str, str]) -> tuple[float, float, dict[str, object]]:
    """Run to the end; return wall seconds, processor seconds of all that was started, and the answer."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall_s, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise SystemExit(
            f"{command} ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-2000:]}"
        )
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, used, json.loads(done.stdout.splitlines()[-1])


def measure(
    n_windows: int, repeats: int, options: list[str], say: Callable[[str], None]
) -> dict[str, object]:
    """Run all ways, interleaved, and return seconds and ratios."""
    ways: dict[str, Mapping[str, str]] = {"ours": {}}
    if "precision" in Settings.model_fields:
        ways["ours in fp32"] = {"CLM_TRAINING__PRECISION": "fp32"}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ("script", *ways)}
    said = {}
    with tempfile.TemporaryDirectory(prefix="clm-job-") as name:
        place = Path(name)
        store = place / "store.db"
        write_store(store, n_windows)
        migrate = [sys.executable, "-P", "-m", "clm", "store", "migrate", "--store", str(store)]
        environment = {"PATH": os.defpath, "CLM_ROOT": name}
        subprocess.run(migrate, env=environment, check=True, capture_output=True)
        for repeat in range(repeats):
            for way, kept in taken.items():
                command = script(store, place, options) if way == "script" else ours(store, place, ways[way])
                wall_s, cpu_s, said[way] = timed(*command)
                kept.append((wall_s, cpu_s))
                say(f"  {repeat + 1} of {repeats}: {way:12} {wall_s:6.1f} s, {cpu_s:6.1f} s of processor")
    wall = {way: statistics.median(wall_s for wall_s, _ in kept) for way, kept in taken.items()}
    cpu = {way: statistics.median(cpu_s for _, cpu_s in kept) for way, kept in taken.items()}
    return {
        "windows": n_windows,
        "wall_s": wall,
        "cpu_s": cpu,
        "wall_ratio": wall["ours"] / wall["script"],
        "cpu_ratio": cpu["ours"] / cpu["script"],
        "ratios": {way: [wall[way] / wall["script"], cpu[way] / cpu["script"]] for way in ways},
        "script": said["script"],
        "ours": {name: said["ours"][name] for name in ("decision", "reasons", "seconds")},
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="The whole job beside the usual script.")
    parser.add_argument("--windows", type=int, default=2165)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--learning-rate", default="1e-4", help="of the script")
    parser.add_argument("--all-epochs", action="store_true", help="let the script train all its epochs")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    options = ["--learning-rate", asked.learning_rate, *(["--all-epochs"] if asked.all_epochs else [])]
    report = measure(
        asked.windows, asked.repeats, options, lambda line: print(line, file=progress, flush=True)
    )
    if asked.json:
        print(json.dumps(report))
        return 0
    for way, wall_s in report["wall_s"].items():
        print(f"{way:12} {wall_s:7.1f} s   {report['cpu_s'][way]:7.1f} s of processor")
    for way, (wall_ratio, cpu_ratio) in report["ratios"].items():
        print(
            f"{way:12} 1/{1 / wall_ratio:.1f} of the wall time, 1/{1 / cpu_ratio:.1f} of the processor time"
        )
    print(f"the script trained {report['script']['epochs']} epochs; load {report['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
