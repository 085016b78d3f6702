"""Golden rows: raw windows and their answers, stored with a model as plain arrays."""

import io
from pathlib import Path

import numpy as np

from clm.artefacts.manifest import GOLDEN_NAME
from clm.artefacts.records import read_arrays
from clm.data.dataset import Dataset
from clm.domain.load_check import GoldenRows
from clm.domain.sample import Floats
from clm.errors import ArtefactError

__all__ = ["GOLDEN_NAME", "GOLDEN_ROWS", "choose_golden", "encode_golden", "read_golden"]

GOLDEN_ROWS = 64


def choose_golden(dataset: Dataset, p_candidate_N: Floats) -> GoldenRows:
    """Return test windows whose answers are evenly spaced from the lowest to the highest, inclusive.

    `p_candidate_N` are the answers for the test part, in its order. The selection is deterministic.
    """
    count = min(GOLDEN_ROWS, len(p_candidate_N))
    order_N = np.argsort(p_candidate_N, kind="stable")
    chosen_G = order_N[np.linspace(0, len(order_N) - 1, count).round().astype(np.int64)] if count else order_N
    window_GLC = dataset.windows.gather(dataset.split.test[chosen_G])
    return GoldenRows(window_GLC=window_GLC.astype(np.float32), p_G=p_candidate_N[chosen_G])


def encode_golden(golden: GoldenRows) -> bytes:
    """Return golden rows as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, window_GLC=golden.window_GLC, p_G=golden.p_G)
    return buffer.getvalue()


def read_golden(path: Path) -> GoldenRows:
    """Return golden rows; pickled objects are refused.

    Raises:
        ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
    """
    try:
        stored = read_arrays(path)
        golden = GoldenRows(
            window_GLC=stored["window_GLC"].astype(np.float32), p_G=stored["p_G"].astype(np.float64)
        )
        whole = golden.window_GLC.ndim == 3 and golden.p_G.shape == golden.window_GLC.shape[:1]
    except FileNotFoundError as exc:
        raise ArtefactError("ARTEFACT_MISSING", f"{path} does not exist; train again") from exc
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ArtefactError("ARTEFACT_TORN", f"{path} holds no golden rows ({exc}); train again") from exc
    if not whole:
        raise ArtefactError("ARTEFACT_TORN", f"{path} has not one answer a window; train again")
    return golden
