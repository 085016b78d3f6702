"""Logits and P(WIN) of a network over many windows."""

import numpy as np
import torch
from torch import Tensor, nn

from clm.domain.sample import Floats
from clm.training.windows import Windows

BATCH = 1024


def logits(model: nn.Module, windows: Windows, row_N: Tensor) -> Floats:
    """Return one logit a window in float64; the network is left in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        parts = [model(windows.gather(row_B)).double() for row_B in torch.split(row_N, BATCH)]
    return torch.cat(parts).numpy() if parts else np.empty(0)


def p_win(logit_N: Floats) -> Floats:
    """Return P(WIN); the sign decides which form cannot overflow."""
    small_N = np.exp(-np.abs(logit_N))
    return np.where(logit_N >= 0, 1.0, small_N) / (1.0 + small_N)
