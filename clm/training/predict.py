"""Logits and P(WIN) of a network over many windows."""

import numpy as np
import torch
from torch import Tensor, nn

from clm.domain.sample import Floats
from clm.models.served_file import p_win
from clm.training.windows import Windows

__all__ = ["logits", "p_win"]

BATCH = 1024


def logits(model: nn.Module, windows: Windows, row_N: Tensor) -> Floats:
    """Return one logit a window in float64; the network is left in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        parts = [model(windows.gather(row_B)).double() for row_B in torch.split(row_N, BATCH)]
    return torch.cat(parts).cpu().numpy() if parts else np.empty(0)
