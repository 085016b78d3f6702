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
    """Return one logit per window in float64; the network is left in evaluation mode."""
    model.eval()
    # Allocate first: small results between the batches' large freed blocks would keep all those blocks alive.
    logit_N = np.empty(len(row_N))
    with torch.inference_mode():
        for start in range(0, len(row_N), BATCH):
            row_B = row_N[start : start + BATCH]
            logit_N[start : start + BATCH] = model(windows.gather(row_B)).double().cpu().numpy()
    return logit_N
