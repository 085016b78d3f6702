"""A served network that maps raw windows to P(WIN). Many threads may call it at the same time.

Shapes: N windows, L context_length, C channels of the architecture.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clm.domain.sample import Floats
from clm.models.catalogue import LISTED_CHANNELS, architecture
from clm.models.served_file import load_served, p_win

BATCH = 128
"""Windows per batch; the intermediate results of one batch fit in the processor's cache."""


class ServedModel:
    """The weights of a file, loaded into the architecture that the file was trained with."""

    def __init__(self, data: bytes, architecture_name: str, n_features: int = LISTED_CHANNELS) -> None:
        """Load a file that was trained on `n_features` features. The caller has checked its hash.

        Raises:
            ArtefactError: MODEL_UNREADABLE.
            TrainingError: ARCHITECTURE_UNKNOWN; JOB_UNREADABLE if the architecture takes fewer features.
        """
        chosen = architecture(architecture_name).sized(n_features)
        self.n_channels = chosen.n_features
        self.context_length = chosen.context_length
        self._network = chosen.build(0.0)
        load_served(self._network, data)
        # Evaluation mode disables dropout; nothing here computes gradients.
        self._network.eval().requires_grad_(False)

    def p_win(self, window_NLC: NDArray[Any], *, exact: bool = True, threads: int = 1) -> Floats:
        """Return P(WIN) of raw windows, shape (N,). Missing channels are zero, which the network ignores.

        With `exact=False`, matmuls use bf16: 1.6 times as fast on a processor that supports it, for screening
        many windows. docs/reference/serving.md states the error. `threads` threads share the batches.

        Raises:
            ValueError: the windows have another length, or more channels than the network.
        """
        n, length, n_features = window_NLC.shape
        if length != self.context_length or n_features > self.n_channels:
            raise ValueError(
                f"windows of {length} steps and {n_features} features; the model takes {self.context_length} "
                f"and at most {self.n_channels}"
            )
        # Copy into a fresh tensor: torch would otherwise share memory with the caller's array.
        x_NLC = torch.zeros((n, length, self.n_channels), dtype=torch.float32)
        x_NLC[:, :, :n_features] = torch.from_numpy(np.ascontiguousarray(window_NLC))

        def logits(x_BLC: Tensor) -> Tensor:
            # Inside each worker: torch keeps both modes per thread.
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=not exact):
                logit_B: Tensor = self._network(x_BLC).double()
                return logit_B

        batches = torch.split(x_NLC, BATCH) if n else ()
        if threads == 1 or len(batches) < 2:
            parts = [logits(x_BLC) for x_BLC in batches]
        else:
            # Threads are enough: torch releases the interpreter lock during a matmul.
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(logits, batches))
        return p_win(torch.cat(parts).numpy()) if parts else np.empty(0)
