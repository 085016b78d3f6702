"""The served file: input scaling folded into the first layer, so that the engine feeds raw values.

Shapes: C channels, S steps of a patch, D outputs of the first layer.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clm.artefacts.files import replace_durably
from clm.data.scaling import Scaler
from clm.domain.sample import Floats
from clm.errors import TrainingError
from clm.models.served_file import load_served

__all__ = ["fold_scaling", "load_served", "require_agreement", "save_served", "weights_hash"]

TOLERANCE = 1e-5
"""How far P(WIN) of the served file from raw windows may be from the trained network's from scaled ones."""


def fold_scaling(input_layer: nn.Linear, scaler: Scaler, live_C: NDArray[np.bool_]) -> None:
    """Make the layer read raw values: W' = W / scale, b' = b - W @ (mean / scale), in float64.

    Columns of channels that are not live become exactly zero: whatever is fed there changes nothing.
    """
    mean_C, scale_C = np.zeros(len(live_C)), np.ones(len(live_C))
    mean_C[: len(scaler.mean_C)], scale_C[: len(scaler.scale_C)] = scaler.mean_C, scaler.scale_C
    steps = input_layer.in_features // len(live_C)
    mean_F, scale_F, live_F = np.tile(mean_C, steps), np.tile(scale_C, steps), np.tile(live_C, steps)
    weight_DF = np.where(live_F, input_layer.weight.detach().double().numpy(), 0.0)
    bias_D = input_layer.bias.detach().double().numpy() - weight_DF @ (mean_F / scale_F)
    with torch.no_grad():
        input_layer.weight.copy_(torch.from_numpy(weight_DF / scale_F))
        input_layer.bias.copy_(torch.from_numpy(bias_D))


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
