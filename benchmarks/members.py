"""Training several networks at once: the cost of five seeds compared with one.

    python benchmarks/members.py [--windows N] [--epochs N] [--repeats N] [--json]

one       a process that trains one network and answers validation and test rows, from its start to its end
in turn   a process that trains five, one after the other
at once   the same with as many processes as there are cores, each taking the next seed that is left

The entry is the one that an ensemble uses, `python -m clm.training members`, one thread a process. The ways
are interleaved; a figure is the median. The CPU time of all processes is shown next to the wall time,
because the gain comes from using more cores, which others may need.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clm.questions.members import MemberAnswer, MembersJob, write_members
from clm.questions.shares import read_item
from clm.training.sharing import processes_at_once
from tests.builders import training_spec
from tests.training import jobs

SEEDS = (1, 2, 3, 4, 5)
ROOT = Path(__file__).parents[1]
WAYS = {"one": (SEEDS[:1], 1), "in turn": (SEEDS, 1), "at once": (SEEDS, 0)}
"""Seeds, and processes at a time."""


def timed(asked: MembersJob) -> tuple[float, float]:
    """Train all that is asked for; return seconds of the wall and of the processor."""
    write_members(asked)
    command = [sys.executable, "-P", "-m", "clm.training", "members", str(asked.directory)]
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **one_thread}
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environment, check=True)
    wall_s, after = time.perf_counter() - began, os.times()
    for number in range(len(asked.seeds)):
        assert set(read_item(MemberAnswer, asked.directory, number).p_by_part) == set(asked.parts)
    return wall_s, after.children_user + after.children_system - before.children_user - before.children_system


def measure(n_windows: int, epochs: int, repeats: int, say: Callable[[str], None]) -> dict[str, object]:
    """Run every way, interleaved, and return seconds and ratios."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="clm-members-") as name:
        place, dataset = Path(name), jobs.dataset(n_windows=n_windows)
        # No early stopping: every network is to be the same work.
        spec = training_spec(epochs=epochs, patience=epochs, learning_rate=5e-4)
        job = jobs.job(place / "job", of=dataset, spec=spec)
        jobs.write_job(job, dataset)
        for repeat in range(repeats):
            for way, (seeds, processes) in WAYS.items():
                with tempfile.TemporaryDirectory(dir=place) as empty:
                    asked = MembersJob(
                        directory=Path(empty),
                        data=job.directory,
                        spec=replace(spec, processes=processes),
                        seeds=seeds,
                        parts=("validation", "test"),
                    )
                    taken[way].append(timed(asked))
                wall_s, cpu_s = taken[way][-1]
                say(f"  {repeat + 1} of {repeats}: {way:8} {wall_s:6.1f} s, {cpu_s:6.1f} s of processor")
    wall = {way: statistics.median(wall_s for wall_s, _ in kept) for way, kept in taken.items()}
    cpu = {way: statistics.median(cpu_s for _, cpu_s in kept) for way, kept in taken.items()}
    return {
        "windows": n_windows,
        "epochs": epochs,
        "processes": processes_at_once(0, 1, len(SEEDS)),
        "wall_s": wall,
        "cpu_s": cpu,
        "five_vs_one": wall["at once"] / wall["one"],
        "five_in_turn_vs_one": wall["in turn"] / wall["one"],
        "cpu_at_once_vs_in_turn": cpu["at once"] / cpu["in turn"],
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="What five networks cost beside one.")
    parser.add_argument("--windows", type=int, default=2165)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    report = measure(
        asked.windows, asked.epochs, asked.repeats, lambda line: print(line, file=progress, flush=True)
    )
    if asked.json:
        print(json.dumps(report))
        return 0
    for way, wall_s in report["wall_s"].items():
        ratio = wall_s / report["wall_s"]["one"]
        print(f"{way:8} {wall_s:7.1f} s   {report['cpu_s'][way]:7.1f} s of processor   {ratio:.2f} x one")
    print(f"{report['processes']} processes at once; load {report['load_average']:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
