"""Answers the question `load_check`.

It loads the file in every way in which it can be served, asks it for the golden rows, and times single
predictions.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from clm.domain.architecture import KNOWN
from clm.domain.load_check import GoldenRows, LoadCheck, Route
from clm.domain.sample import Floats
from clm.errors import ArtefactError
from clm.models.existing_engine import ENGINE_ROUTES
from clm.models.served_file import is_finite, p_win, read_state
from clm.questions.load_check import LoadCheckInputs, LoadCheckJob
from clm.serving.model import ServedModel
from clm.training.work import Work

WARM_UP = 20
PREDICTIONS = 300
"""Timed one by one; the third slowest is the 99th percentile."""

Predict = Callable[[Floats], Floats]
_UNTIMED = np.full(1, np.nan)


def answer(inputs: LoadCheckInputs, _work: Work) -> LoadCheck:
    """Load the file in every way, and return what each answers or why it cannot.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN.
        OSError: the file cannot be read.
    """
    job, golden = inputs.job, inputs.golden
    torch.set_num_threads(1)
    data, facts = job.weights_path.read_bytes(), KNOWN.get(job.architecture)
    window_GLC = _padded(golden, facts.fixed_channels if facts else None)
    asked = [_asked(name, load, window_GLC) for name, load in _ways(job, data)]
    loaded = [predict for _, predict in asked if predict]
    cpu_ms, wall_ms = _time(loaded[0], window_GLC) if loaded else (_UNTIMED, _UNTIMED)
    return LoadCheck(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        weights_finite=_weights_are_finite(data),
        golden=golden,
        routes=tuple(route for route, _ in asked),
        predictions=len(cpu_ms),
        p50_ms=float(np.percentile(cpu_ms, 50)),
        p99_ms=float(np.percentile(cpu_ms, 99)),
        p99_wall_ms=float(np.percentile(wall_ms, 99)),
    )


def _ways(job: LoadCheckJob, data: bytes) -> Iterator[tuple[str, Callable[[], Predict]]]:
    """Yield the ways to serve the file by name: the existing engine's, if it can load it, and ours."""
    facts = KNOWN.get(job.architecture)
    if facts and facts.loads_in_existing_engine:
        for name, load in ENGINE_ROUTES.items():
            yield name, partial(_as_engine, load, data)
    yield "clm.serving", lambda: ServedModel(data, job.architecture, job.n_features).p_win


def _as_engine(load: Callable[[bytes], nn.Module], data: bytes) -> Predict:
    network = load(data)

    def predict(window_NLC: Floats) -> Floats:
        with torch.inference_mode():
            return p_win(network(torch.from_numpy(window_NLC)).flatten().double().numpy())

    return predict


def _asked(name: str, load: Callable[[], Predict], window_GLC: Floats) -> tuple[Route, Predict | None]:
    try:
        predict = load()
        return Route(name=name, p_G=predict(window_GLC)), predict
    except ArtefactError as error:
        return Route(name=name, p_G=None, failed_because=error.message[:300]), None


def _weights_are_finite(data: bytes) -> bool:
    try:
        return is_finite(read_state(data))
    except ArtefactError:
        return False


def _padded(golden: GoldenRows, channels: int | None) -> Floats:
    """Return the golden windows with every channel of the network; those without a feature are zero."""
    n, length, n_features = golden.window_GLC.shape
    window_GLC = np.zeros((n, length, max(channels or 0, n_features)), dtype=np.float32)
    window_GLC[:, :, :n_features] = golden.window_GLC
    return window_GLC


def _time(predict: Predict, window_GLC: Floats) -> tuple[Floats, Floats]:
    """Return the processor and wall milliseconds of single predictions, without those of the warm-up."""
    cpu_ms, wall_ms = [], []
    for number in range(WARM_UP + PREDICTIONS if len(window_GLC) else 0):
        one_1LC = window_GLC[number % len(window_GLC)][None]
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        predict(one_1LC)
        cpu_ms.append((time.thread_time_ns() - cpu) / 1e6)
        wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
    if len(cpu_ms) <= WARM_UP:
        return _UNTIMED, _UNTIMED
    return np.array(cpu_ms[WARM_UP:]), np.array(wall_ms[WARM_UP:])
