"""Measure which thread count trains fastest now: on busy cores, threads wait for each other."""

import os
import statistics
from collections.abc import Mapping
from dataclasses import replace

import torch

from clm.clock import SystemClock
from clm.domain.job import TrainingJob, TrainingSpec
from clm.models.catalogue import Architecture, architecture
from clm.training.compiler import leave_compiler_out
from clm.training.device import device_of
from clm.training.loop import fit
from clm.training.windows import Part, Windows

CLEAR_MARGIN = 1.2
"""Minimum speed-up for using all cores: less may be chance, and one thread leaves the engine its core."""
_ROUNDS = 3
_BATCHES = 4


def with_threads(job: TrainingJob) -> tuple[TrainingJob, Mapping[str, str]]:
    """Return the job with a thread count, measured if the job has none, and the measurement for the notes."""
    if job.spec.threads:
        return job, {}
    if device_of(job.spec.device).type != "cpu":
        return replace(job, spec=replace(job.spec, threads=1)), {"threads_measured": "a GPU trains"}
    leave_compiler_out()
    chosen = architecture(job.spec.architecture).sized(len(job.feature_names))
    threads, figures = measured_threads(job.spec, chosen)
    return replace(job, spec=replace(job.spec, threads=threads)), {"threads_measured": figures}


def measured_threads(spec: TrainingSpec, chosen: Architecture) -> tuple[int, str]:
    """Return 1 or the number of cores, and the measured wall times of a few steps with each."""
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        return 1, "there is one core"
    seconds: dict[int, list[float]] = {1: [], cores: []}
    _burst(spec, chosen, 1)  # the first steps of a process are its slowest
    for _ in range(_ROUNDS):
        for threads, taken in seconds.items():
            taken.append(_burst(spec, chosen, threads))
    one, many = (statistics.median(taken) for taken in seconds.values())
    return (
        cores if one > CLEAR_MARGIN * many else 1,
        f"{_BATCHES} steps took {one:.2f} s with one thread, {many:.2f} s with {cores}",
    )


def _burst(spec: TrainingSpec, chosen: Architecture, threads: int) -> float:
    """Return the wall time in seconds of a few training steps on noise."""
    torch.set_num_threads(threads)
    clock = SystemClock()
    n_windows = _BATCHES * spec.batch_size
    windows = Windows(
        values_RC=torch.randn(n_windows + chosen.context_length, chosen.n_features),
        context_length=chosen.context_length,
    )
    row_N = torch.arange(n_windows) + chosen.context_length
    part = Part(row_N=row_N, label_N=(torch.arange(n_windows) % 2).float())
    few = Part(row_N=row_N[:2], label_N=part.label_N[:2])
    model = chosen.build(spec.dropout)
    began = clock.monotonic()
    fit(model, windows, part, few, replace(spec, epochs=1, swa_from=1.0), lambda report: None)
    return clock.monotonic() - began
