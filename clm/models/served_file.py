"""Read a served file: no code in it is run, all keys and shapes must match, all weights must be finite."""

import io
import pickle
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from clm.domain.sample import Floats
from clm.errors import ArtefactError


def read_state(data: bytes) -> Mapping[str, Tensor]:
    """Return the tensors of a served file by name; the file may wrap them as `model_state_dict` or not.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    try:
        # A pickle can run code. weights_only restricts it to tensors and plain containers (torch.load's
        # documentation), so an unknown file cannot take over the process.
        # map_location: a file that was trained on a GPU must load on a host without one.
        document = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        state = document.get("model_state_dict", document)
        # Our files have the wrapper; a file of the existing engine may be a bare state dict.
        strangers = [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]
    # weights_only raises UnpicklingError, a truncated zip RuntimeError, and other content the rest.
    except (
        pickle.UnpicklingError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        EOFError,
    ) as exc:
        raise _unreadable(f"the file does not load into this architecture: {exc}") from exc
    if strangers:
        raise _unreadable(f"the file contains {strangers[0]!r}, which is not a tensor")
    named: Mapping[str, Tensor] = state
    return named


def load_served(model: nn.Module, data: bytes) -> None:
    """Load a served file's bytes into a network, strictly.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    state = read_state(data)
    try:
        # Not strict, a misnamed key would leave that layer at its random weights, and the file would still
        # "load".
        model.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, AttributeError) as exc:
        raise _unreadable(f"the file does not load into this architecture: {exc}") from exc
    # A NaN weight would make every answer NaN, and NaN passes no threshold: the engine would always hold.
    if not is_finite(model.state_dict()):
        raise _unreadable("the file contains weights that are not finite")


def is_finite(state: Mapping[str, Tensor]) -> bool:
    """Return whether every weight is a finite number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def p_win(logit_N: Floats) -> Floats:
    """Return P(WIN), the sigmoid of each logit, shape (N,)."""
    # exp(-|x|) cannot overflow; the sign selects the matching form of the sigmoid.
    small_N = np.exp(-np.abs(logit_N))
    return np.where(logit_N >= 0, 1.0, small_N) / (1.0 + small_N)


def _unreadable(why: str) -> ArtefactError:
    return ArtefactError("MODEL_UNREADABLE", why)
