"""Answers the question `load_check`.

It loads the file in every way in which it can be served, asks it for the golden rows, and times single
predictions.
"""

import hashlib
import time
from collections.abc import Callable

import numpy as np
import torch

from clm.domain.architecture import KNOWN
from clm.domain.proof import GoldenRows, Route, ServingProof
from clm.domain.sample import Floats
from clm.errors import ArtefactError
from clm.models.existing_engine import ENGINE_ROUTES
from clm.models.served_file import is_finite, p_win, read_state
from clm.questions.load_check import LoadCheckInputs
from clm.serving.model import ServedModel
from clm.training.work import Work

WARM_UP = 20
PREDICTIONS = 300
"""Timed one by one; the third slowest is the 99th percentile."""

Answer = Callable[[Floats], Floats]


def answer(inputs: LoadCheckInputs, _work: Work) -> ServingProof:
    """Load the file in every way, and return what each answers or why it cannot.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN.
        OSError: the file cannot be read.
    """
    job, golden = inputs.job, inputs.golden
    torch.set_num_threads(1)
    data, facts = job.weights_path.read_bytes(), KNOWN.get(job.architecture)

    def as_engine(load: Callable[[bytes], torch.nn.Module]) -> Answer:
        network = load(data)

        def answer(window_NLC: Floats) -> Floats:
            with torch.inference_mode():
                return p_win(network(torch.from_numpy(window_NLC)).flatten().double().numpy())

        return answer

    ways: dict[str, Callable[[], Answer]] = {
        name: lambda load=load: as_engine(load)  # type: ignore[misc]  # a default binds the loop's value
        for name, load in (ENGINE_ROUTES.items() if facts and facts.loads_in_existing_engine else ())
    }
    ways["clm.serving"] = lambda: ServedModel(data, job.architecture, job.n_features).p_win
    window_GLC = _padded(golden, facts.fixed_channels if facts else None)
    routes, answers = [], []
    for name, load_way in ways.items():
        try:
            answer = load_way()
            routes.append(Route(name=name, p_G=answer(window_GLC)))
            answers.append(answer)
        except ArtefactError as error:
            routes.append(Route(name=name, p_G=None, failed_because=error.message[:300]))
    try:
        finite = is_finite(read_state(data))
    except ArtefactError:
        finite = False
    cpu_ms, wall_ms = _time(answers[0], window_GLC) if answers else (np.full(1, np.nan), np.full(1, np.nan))
    return ServingProof(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        weights_finite=finite,
        golden=golden,
        routes=tuple(routes),
        predictions=len(cpu_ms),
        p50_ms=float(np.percentile(cpu_ms, 50)),
        p99_ms=float(np.percentile(cpu_ms, 99)),
        p99_wall_ms=float(np.percentile(wall_ms, 99)),
    )


def _padded(golden: GoldenRows, channels: int | None) -> Floats:
    """Return the golden windows with every channel of the network; those without a feature are zero."""
    n, length, n_features = golden.window_GLC.shape
    window_GLC = np.zeros((n, length, max(channels or 0, n_features)), dtype=np.float32)
    window_GLC[:, :, :n_features] = golden.window_GLC
    return window_GLC


def _time(answer: Answer, window_GLC: Floats) -> tuple[Floats, Floats]:
    """Return milliseconds of this thread and of the wall of single predictions, the first ones left out."""
    cpu_ms, wall_ms = [], []
    for number in range(WARM_UP + PREDICTIONS if len(window_GLC) else 0):
        one_1LC = window_GLC[number % len(window_GLC)][None]
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        answer(one_1LC)
        cpu_ms.append((time.thread_time_ns() - cpu) / 1e6)
        wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
    if len(cpu_ms) <= WARM_UP:
        return np.full(1, np.nan), np.full(1, np.nan)
    return np.array(cpu_ms[WARM_UP:]), np.array(wall_ms[WARM_UP:])
