"""Trials of a study two at a time: what they take next to one at a time.

    python benchmarks/trials.py [--windows N] [--epochs N] [--trials N] [--repeats N] [--json]

The study is the one that follows a rejection, with the same trials in both ways; the ways are interleaved,
and a figure is the median of the repeats.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clm.domain.tuning import AS_SET, Trial, TuningJob
from clm.training.study import climb
from tests.builders import training_spec
from tests.training import jobs

WAYS = {"one at a time": 1, "two at a time": 2}


def timed(
    place: Path, *, windows: int, epochs: int, trials: int, processes: int
) -> tuple[float, list[Trial]]:
    """Make a study and return its seconds and its trials."""
    dataset = jobs.dataset(n_windows=windows)
    spec = training_spec(epochs=epochs, patience=epochs)
    job = jobs.job(place / "job", of=dataset, spec=replace(spec, processes=processes))
    jobs.write_job(job, dataset)
    (place / "tuning").mkdir()
    kept: list[tuple[Trial, ...]] = []
    asked = TuningJob(
        run_id=job.run_id,
        directory=place / "tuning",
        study="benchmark",
        storage=place / "tuning.db",
        spec=job.spec,
        knobs=("learning_rate", "dropout"),
        variants={AS_SET: job.directory},
        trials=trials,
        budget_s=3600.0,
    )
    began = time.perf_counter()
    climb(asked, kept.append)
    return time.perf_counter() - began, list(kept[-1])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What trials take two at a time.")
    parser.add_argument("--windows", type=int, default=2165)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(asked.repeats):
        excess = []
        for way, processes in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="clm-trials-") as name:
                seconds, trials = timed(
                    Path(name),
                    windows=asked.windows,
                    epochs=asked.epochs,
                    trials=asked.trials,
                    processes=processes,
                )
            taken[way].append(seconds)
            excess.append([trial.excess for trial in trials])
            print(f"  {repeat + 1} of {asked.repeats}: {way} {seconds:.1f} s", file=progress, flush=True)
        assert excess[0] == excess[1], "the trials are the same"
    wall = {way: statistics.median(kept) for way, kept in taken.items()}
    ratio = wall["two at a time"] / wall["one at a time"]
    report = {"trials": asked.trials, "wall_s": wall, "ratio": ratio, "load_average": os.getloadavg()[0]}
    print(json.dumps(report) if asked.json else f"{wall}; two at a time take {ratio:.2f} of one at a time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
