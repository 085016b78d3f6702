"""The served file: written, hashed, and held against the network that was trained."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clm.artefacts.files import replace_durably
from clm.domain.sample import Floats
from clm.errors import TrainingError
from clm.models.served_file import load_served

__all__ = ["load_served", "require_agreement", "save_served", "weights_hash"]

TOLERANCE = 1e-5
"""How far P(WIN) of the served file from raw windows may be from the trained network's from scaled ones."""


def save_served(model: nn.Module, path: Path) -> bytes:
    """Write `{"model_state_dict": ...}` durably and return the bytes of the file.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    state = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state}, buffer)
    data = buffer.getvalue()
    replace_durably(path, data)
    return data


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, shapes, types and bytes of all tensors, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def require_agreement(p_served_N: Floats, p_trained_N: Floats) -> float:
    """Return the largest difference of the two ways to the same P(WIN).

    Raises:
        TrainingError: EXPORT_MISMATCH, where it is beyond TOLERANCE or no number.
    """
    difference = float(np.abs(p_served_N - p_trained_N).max(initial=0.0))
    if difference <= TOLERANCE:
        return difference
    raise TrainingError(
        "EXPORT_MISMATCH",
        f"the served file is {difference:.3g} off the trained network in P(WIN), more than {TOLERANCE:g}: "
        "some feature is large beside its spread, so that float32 cannot hold the folded scaling; "
        "centre that feature or leave it out with CLM_FEATURES",
    )
