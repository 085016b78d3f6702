"""Write and hash the served file, and compare it with the trained network."""

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
"""Maximum difference in P(WIN): the served file on raw windows against the trained network on scaled ones."""


def save_served(model: nn.Module, path: Path) -> bytes:
    """Write `{"model_state_dict": ...}` durably and return the file's bytes.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    # clone: torch.save would otherwise write the whole storage of a view.
    state = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state}, buffer)
    data = buffer.getvalue()
    replace_durably(path, data)
    return data


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over names, shapes, types and bytes of all tensors, sorted by name."""
    digest = hashlib.sha256()
    # Sorted: the hash must depend on the weights, not on the order of their definition.
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def require_agreement(p_served_N: Floats, p_trained_N: Floats) -> float:
    """Return the largest difference between the served and the trained P(WIN).

    Raises:
        TrainingError: EXPORT_MISMATCH, the difference exceeds TOLERANCE or is NaN.
    """
    difference = float(np.abs(p_served_N - p_trained_N).max(initial=0.0))
    # The condition for passing, so that NaN fails.
    if difference <= TOLERANCE:
        return difference
    raise TrainingError(
        "EXPORT_MISMATCH",
        f"P(WIN) of the served file differs from the trained network by {difference:.3g}, more than "
        f"{TOLERANCE:g}: a feature is large compared with its spread, so float32 cannot represent the folded "
        "scaling; centre that feature or remove it from CLM_FEATURES",
    )
