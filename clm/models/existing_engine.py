"""The network as the existing engine has it, and its ways to a file: to hold ours against.

Written out from what the engine does and sharing no line with `clm.models.engine`: were ours to drift, in
an activation, an order of axes, a norm, the weights would still load and the answers would be others.

The engine has been in use in three generations. The one here reads `PATCHTST_MODEL_PATH`, takes a dict with
`model_state_dict` or a bare state dict, and does not scale its input. Another has 49 features and 3 classes:
no model of ours loads there, and none claims to. The third only wants the file in another directory.
"""

import io
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from clm.models.served_file import load_served, read_state

CONTEXT_LENGTH, N_FEATURES, PATCH_LENGTH, D_MODEL = 128, 8, 16, 128


class ExistingEngineNetwork(nn.Module):
    """One logit a window (batch, 128, 8); 612,481 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(PATCH_LENGTH * N_FEATURES, D_MODEL)
        self.pos_encoding = nn.Parameter(torch.zeros(1, CONTEXT_LENGTH // PATCH_LENGTH, D_MODEL))
        layer = nn.TransformerEncoderLayer(d_model=D_MODEL, nhead=4, dim_feedforward=512, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False)
        self.output_proj = nn.Linear(D_MODEL, 1)

    def forward(self, window: Tensor) -> Tensor:
        """Return the logits, shape (batch, 1)."""
        patches = window.reshape(window.shape[0], CONTEXT_LENGTH // PATCH_LENGTH, PATCH_LENGTH * N_FEATURES)
        hidden = self.transformer(self.patch_embedding(patches) + self.pos_encoding)
        logit: Tensor = self.output_proj(hidden.mean(dim=1))
        return logit


def load_as_engine(data: bytes) -> nn.Module:
    """Return the engine's network with the weights of a file; unlike in the engine, every key has to fit.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    network = ExistingEngineNetwork()
    load_served(network, data)
    return network.eval()


def as_bare_state_dict(data: bytes) -> bytes:
    """Return a served file in the other form the engine takes: the state dict without a wrapper.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    buffer = io.BytesIO()
    torch.save(dict(read_state(data)), buffer)
    return buffer.getvalue()


ENGINE_ROUTES: Mapping[str, Callable[[bytes], nn.Module]] = {
    "the engine": load_as_engine,
    "the engine without the wrapper": lambda data: load_as_engine(as_bare_state_dict(data)),
}
"""Ways in which the engine takes a file of its architecture."""
