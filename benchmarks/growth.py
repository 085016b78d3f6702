"""What a training takes as the store grows: peak memory of the child, and seconds an epoch.

    python benchmarks/growth.py [--samples N ...] [--epochs N] [--repeats N] [--json]

A made data set of 8 features, written as the daemon writes it, and a real child on it, the sizes in turn. An
epoch trains at most 8,192 windows and judges at most 16,384, so it stops growing where the store goes on;
what has to stay the same is the cost of a window, each kind by itself: processor seconds of the quickest
epoch of all repeats, over those of the smallest store. Peak memory is what the system counted for the child.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from clm.data.dataset import build_dataset  # noqa: E402  the path comes first
from clm.questions.train import DATA  # noqa: E402
from clm.training.loop import EPOCH_WINDOWS, VALIDATION_WINDOWS  # noqa: E402
from tests.builders import data_policy, training_spec  # noqa: E402
from tests.training import jobs  # noqa: E402

CHILD = """
import json, sys, time
from pathlib import Path
from clm.training import loop
from clm.training.__main__ import main

spent = {"_train_epoch": [], "_judged": []}

def timed(name, plain):
    def call(*given, **named):
        began = time.process_time()
        answer = plain(*given, **named)
        spent[name].append(time.process_time() - began)
        return answer
    return call

for name in spent:
    setattr(loop, name, timed(name, getattr(loop, name)))
code = main(["train", *sys.argv[1:]])
# ru_maxrss would include the parent's peak, which a child inherits.
peak_kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
Path(sys.argv[1], "spent.json").write_text(json.dumps({**spent, "peak_mb": peak_kb * 1.024 / 1000}))
sys.exit(code)
"""
"""The training child, with a clock around both halves of an epoch."""


def prepare(directory: Path, n_samples: int, epochs: int) -> tuple[int, int]:
    """Write a job and return how many windows an epoch trains and judges."""
    dataset = build_dataset(jobs.table(n_windows=n_samples - 2 * 127), data_policy())
    spec = training_spec(epochs=epochs, patience=epochs, batch_size=256)
    jobs.write_job(jobs.job(directory, of=dataset, spec=spec), dataset)
    split = dataset.split
    return min(len(split.train), EPOCH_WINDOWS), min(len(split.validation), VALIDATION_WINDOWS)


def train(directory: Path) -> tuple[dict[str, Any], float, float]:
    """Run a child and return processor seconds of the halves of its epochs, its peak memory in MB, and all
    its processor seconds."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory)], cwd=ROOT, env={"PATH": os.defpath, **threads}
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, child.returncode
    spent = json.loads((directory / "spent.json").read_text())
    return spent, spent.pop("peak_mb"), usage.ru_utime + usage.ru_stime


def measure(
    sizes: Sequence[int], epochs: int, repeats: int, say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Run every size in turn and return its figures."""
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        windows = {size: prepare(Path(name, str(size)), size, epochs) for size in sizes}
        for repeat in range(repeats):
            for size, (trained, judged) in windows.items():
                spent, peak_mb, whole_s = train(Path(name, str(size)))
                train_s, judge_s = min(spent["_train_epoch"]), min(spent["_judged"])
                before = found.get(size, {})
                found[size] = {
                    "trained_windows": trained,
                    "judged_windows": judged,
                    "train_epoch_cpu_s": min(train_s, before.get("train_epoch_cpu_s", train_s)),
                    "judge_epoch_cpu_s": min(judge_s, before.get("judge_epoch_cpu_s", judge_s)),
                    "whole_cpu_s": min(whole_s, before.get("whole_cpu_s", whole_s)),
                    "peak_mb": max(peak_mb, before.get("peak_mb", 0.0)),
                    "dataset_mb": Path(name, str(size), DATA).stat().st_size / 1e6,
                }
                say(f"  {repeat + 1} of {repeats}: {size:,} samples, peak {peak_mb:.0f} MB")
    return {str(size): with_ratios(figures, found[sizes[0]]) for size, figures in found.items()}


def with_ratios(figures: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    """Add the costs of a window over those of the smallest store, and of an epoch over what they foretell."""

    def window(of: dict[str, float], half: str) -> float:
        return of[f"{half}_epoch_cpu_s"] / of["trained_windows" if half == "train" else "judged_windows"]

    foretold = sum(
        window(first, half) * figures[f"{kind}_windows"]
        for half, kind in (("train", "trained"), ("judge", "judged"))
    )
    epoch_s = figures["train_epoch_cpu_s"] + figures["judge_epoch_cpu_s"]
    ratios = {
        f"{half}_window_ratio": window(figures, half) / window(first, half) for half in ("train", "judge")
    }
    return {**figures, "epoch_cpu_s": epoch_s, **ratios, "epoch_ratio": epoch_s / foretold}


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="Memory and time of a training as the store grows.")
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    report = measure(
        asked.samples, asked.epochs, asked.repeats, lambda line: print(line, file=progress, flush=True)
    )
    if asked.json:
        print(json.dumps(report))
        return 0
    print("   samples   peak MB   epoch s   of a trained window   of a judged one   of an epoch   whole s")
    for size, figures in report.items():
        print(
            f"{int(size):10,} {figures['peak_mb']:9.0f} {figures['epoch_cpu_s']:9.2f} "
            f"{figures['train_window_ratio']:19.2f} x {figures['judge_window_ratio']:15.2f} x "
            f"{figures['epoch_ratio']:11.2f} x {figures['whole_cpu_s']:9.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
