"""Many windows at once: exact however they are shared out, or coarse where that was asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clm.artefacts.golden import read_golden
from clm.domain.sample import Floats
from clm.serving.model import BATCH
from clm.serving.predictor import Predictor
from tests.serving.served import registered
from tests.training import jobs

COARSE = 0.01
"""Of P(WIN), at most: bf16 holds eight bits, and some hundred roundings average out."""


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    directory: Path = tmp_path_factory.mktemp("served")
    return Predictor.load(registered(directory, jobs.dataset(n_features=5, constant=4)).model_path)


@pytest.fixture(scope="module")
def window_NLC() -> Floats:
    """More than fit into two batches, and no whole number of them."""
    random = np.random.default_rng(3)
    centre_C, spread_C = jobs.CENTRE_C[:5], jobs.SPREAD_C[:5]
    return (centre_C + spread_C * random.normal(size=(2 * BATCH + 7, 128, 5))).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_threads_change_no_answer_and_no_order(predictor: Predictor, window_NLC: Floats, exact: bool) -> None:
    """They share out batches, and each batch is computed by one of them as by a single one."""
    alone_N = predictor.p_win(window_NLC, exact=exact)
    assert len(np.unique(alone_N)) > BATCH
    for threads in (2, 3):
        assert np.array_equal(predictor.p_win(window_NLC, exact=exact, threads=threads), alone_N)
    assert predictor.p_win(window_NLC[:0], exact=exact, threads=2).shape == (0,)


def test_a_coarse_answer_is_near_the_exact_one(predictor: Predictor, window_NLC: Floats) -> None:
    """For screening; what is traded on is asked for again."""
    exact_N, coarse_N = (predictor.p_win(window_NLC, exact=exact) for exact in (True, False))
    off_N = np.abs(coarse_N - exact_N)
    assert 1e-6 < off_N.max() < COARSE
    assert off_N.mean() < COARSE / 5
    assert (
        np.corrcoef(coarse_N, exact_N)[0, 1] > 0.95
    )  # although an untrained network hardly distinguishes them


def test_what_is_not_asked_to_be_coarse_is_exact(
    tmp_path: Path, predictor: Predictor, window_NLC: Floats
) -> None:
    """Golden rows and single answers repeat to the last digits, whatever was asked in between."""
    artefact = registered(tmp_path, jobs.dataset(n_features=5, constant=4))
    assert artefact.golden_path is not None
    golden = read_golden(artefact.golden_path)
    fresh = Predictor.load(artefact.model_path)
    fresh.p_win(window_NLC, exact=False, threads=2)
    np.testing.assert_allclose(fresh.p_win(golden.window_GLC), golden.p_G, rtol=0, atol=1e-6)
    together_N = predictor.p_win(window_NLC)
    for number in (0, BATCH, len(window_NLC) - 1):
        alone = predictor.p_win(window_NLC[number : number + 1])[0]
        assert alone == pytest.approx(together_N[number], abs=1e-6)
    assert not torch.is_autocast_enabled("cpu")
