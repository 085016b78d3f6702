"""Check that the engine scores the golden rows like the model file does."""

import json
from dataclasses import dataclass

import numpy as np

from clm.domain.load_check import GoldenRows
from clm.domain.sample import Floats
from clm.engine.http import Endpoint
from clm.ports import Clock

TOLERANCE = 1e-4
"""Maximum difference between the engine's score and the file's: only rounding is allowed."""
_SAME = 1e-9
_CHANNELS = 8
"""Input columns of the existing engine; unused ones are zero, and clm.serving ignores them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReading:
    """Result of the golden check."""

    proven: bool
    final: bool
    """False if the engine did not reply, so a retry may succeed."""
    detail: str = ""


class GoldenCheck:
    """Posts `{"window": 128 x 8 numbers}` and reads `{"p_win": number}`."""

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._endpoint = Endpoint(url, clock=clock)

    def __call__(self, golden: GoldenRows) -> ProbeReading:
        """Score every golden row; every problem is returned as a result, never raised."""
        answers = []
        for window_LC in golden.window_GLC:
            try:
                status, body = self._endpoint.ask(_request(window_LC))
            except (OSError, ValueError) as exc:
                return _not_yet(f"no answer: {exc or type(exc).__name__}")
            p_win = _p_win(body) if status == 200 else None
            if p_win is None:
                text = body[:80].decode(errors="replace")
                return _not_yet(f"HTTP {status} without a finite p_win: {text!r}")
            answers.append(p_win)
        return judge_probe(np.array(answers), golden.p_G)


def judge_probe(engine_G: Floats, file_G: Floats) -> ProbeReading:
    """Compare the engine's scores with the file's."""
    count = len(file_G)
    # This comes first, because it has another cause than wrong scores: the engine ignores its input.
    if count > 1 and np.ptp(engine_G) <= _SAME and np.ptp(file_G) > TOLERANCE:
        return ProbeReading(
            proven=False,
            final=True,
            detail=(
                f"serving input constant: {count} different windows get one score, {engine_G[0]:.6f}, while "
                f"the file gives {file_G.min():.6f} to {file_G.max():.6f}; the engine does not pass on its "
                "input, and another model would not change that"
            ),
        )
    apart_G = np.abs(engine_G - file_G)
    # Negate the condition for passing: NaN must count as wrong.
    wrong_G = ~(apart_G <= TOLERANCE)
    if wrong_G.any():
        worst = int(np.argmax(apart_G))
        return ProbeReading(
            proven=False,
            final=True,
            detail=(
                f"{int(wrong_G.sum())} of {count} golden rows have another score: row {worst} has "
                f"{engine_G[worst]:.6f}, the file gives {file_G[worst]:.6f}"
            ),
        )
    return ProbeReading(proven=True, final=True)


def _request(window_LC: Floats) -> bytes:
    length, n_features = window_LC.shape
    padded_LC = np.zeros((length, max(_CHANNELS, n_features)))
    padded_LC[:, :n_features] = window_LC
    return json.dumps({"window": padded_LC.tolist()}).encode()


def _p_win(body: bytes) -> float | None:
    try:
        p_win = json.loads(body)["p_win"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # bool is a subclass of int in Python, and `true` is not a probability.
    if isinstance(p_win, bool) or not isinstance(p_win, int | float):
        return None
    # Other values are not probabilities, and an integer of 400 digits does not fit a float.
    return float(p_win) if -1e9 < p_win < 1e9 else None


def _not_yet(detail: str) -> ProbeReading:
    return ProbeReading(proven=False, final=False, detail=f"the probe endpoint: {detail}")
