"""Answer the question `load_check`.

The handler loads the file in each way that an engine could, predicts the golden rows, and times single
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
"""Number of predictions timed one by one; the third slowest is the 99th percentile."""

Predict = Callable[[Floats], Floats]
_UNTIMED = np.full(1, np.nan)


def answer(inputs: LoadCheckInputs, _work: Work) -> LoadCheck:
    """Load the file in every way and return each way's predictions or the reason for its failure.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN.
        OSError: the file cannot be read.
    """
    job, golden = inputs.job, inputs.golden
    # The engine shares its core, so the budget is for one thread.
    torch.set_num_threads(1)
    data, facts = job.weights_path.read_bytes(), KNOWN.get(job.architecture)
    window_GLC = _padded(golden, facts.fixed_channels if facts else None)
    attempts = [_load_and_predict(name, load, window_GLC) for name, load in _routes(job, data)]
    loaded = [predict for _, predict in attempts if predict]
    cpu_ms, wall_ms = _time(loaded[0], window_GLC) if loaded else (_UNTIMED, _UNTIMED)
    return LoadCheck(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        weights_finite=_weights_are_finite(data),
        golden=golden,
        routes=tuple(route for route, _ in attempts),
        predictions=len(cpu_ms),
        p50_ms=float(np.percentile(cpu_ms, 50)),
        p99_ms=float(np.percentile(cpu_ms, 99)),
        p99_wall_ms=float(np.percentile(wall_ms, 99)),
    )


def _routes(job: LoadCheckJob, data: bytes) -> Iterator[tuple[str, Callable[[], Predict]]]:
    """Yield name and loader of each way to serve the file: the existing engine's, if possible, and ours."""
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


def _load_and_predict(
    name: str, load: Callable[[], Predict], window_GLC: Floats
) -> tuple[Route, Predict | None]:
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
    """Return the golden windows with all channels of the network; channels without a feature are zero."""
    n, length, n_features = golden.window_GLC.shape
    window_GLC = np.zeros((n, length, max(channels or 0, n_features)), dtype=np.float32)
    window_GLC[:, :, :n_features] = golden.window_GLC
    return window_GLC


def _time(predict: Predict, window_GLC: Floats) -> tuple[Floats, Floats]:
    """Return CPU and wall times of single predictions in milliseconds, without the warm-up."""
    cpu_ms, wall_ms = [], []
    for number in range(WARM_UP + PREDICTIONS if len(window_GLC) else 0):
        one_1LC = window_GLC[number % len(window_GLC)][None]
        # CPU time is judged: wall time would measure the load of the machine.
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        predict(one_1LC)
        cpu_ms.append((time.thread_time_ns() - cpu) / 1e6)
        wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
    if len(cpu_ms) <= WARM_UP:
        return _UNTIMED, _UNTIMED
    return np.array(cpu_ms[WARM_UP:]), np.array(wall_ms[WARM_UP:])
