"""The existing engine's network and file loading, as a reference for ours.

It reproduces the engine's behaviour and shares no code with `clm.models.engine`. If our network drifted in
an activation, an axis order or a norm, the weights would still load, but the predictions would differ.

Three generations of the engine have been in use. The one here reads `PATCHTST_MODEL_PATH`, accepts a dict
with `model_state_dict` or a bare state dict, and does not scale its input. The second has 49 features and 3
classes, so none of our models loads there. The third only expects the file in another directory.
"""

import io
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from clm.models.served_file import load_served, read_state

CONTEXT_LENGTH, N_FEATURES, PATCH_LENGTH, D_MODEL = 128, 8, 16, 128


class ExistingEngineNetwork(nn.Module):
    """Maps windows (batch, 128, 8) to one logit each; 612,481 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(PATCH_LENGTH * N_FEATURES, D_MODEL)
        # Zeros are enough: this network is never trained, and a file overwrites every value.
        self.pos_encoding = nn.Parameter(torch.zeros(1, CONTEXT_LENGTH // PATCH_LENGTH, D_MODEL))
        # Torch's own layer with its defaults (post-norm, ReLU, dropout 0.1), as the engine builds it. Not
        # our layer: a shared mistake would cancel out.
        layer = nn.TransformerEncoderLayer(d_model=D_MODEL, nhead=4, dim_feedforward=512, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False)
        self.output_proj = nn.Linear(D_MODEL, 1)

    def forward(self, window: Tensor) -> Tensor:
        """Return the logits, shape (batch, 1)."""
        # (batch, 128, 8) -> (batch, 8 patches, 16 * 8); written with literal sizes, as in the engine
        patches = window.reshape(window.shape[0], CONTEXT_LENGTH // PATCH_LENGTH, PATCH_LENGTH * N_FEATURES)
        hidden = self.transformer(self.patch_embedding(patches) + self.pos_encoding)  # (batch, 8, 128)
        logit: Tensor = self.output_proj(hidden.mean(dim=1))
        return logit


def load_as_engine(data: bytes) -> nn.Module:
    """Return the engine's network with the weights of a file. Unlike the engine, require every key to match.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    network = ExistingEngineNetwork()
    load_served(network, data)
    # Evaluation mode switches off the layer's dropout.
    return network.eval()


def as_bare_state_dict(data: bytes) -> bytes:
    """Return a served file in the other form that the engine accepts: a state dict without a wrapper.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    buffer = io.BytesIO()
    # A plain dict: `weights_only` loading accepts no custom mapping.
    torch.save(dict(read_state(data)), buffer)
    return buffer.getvalue()


ENGINE_ROUTES: Mapping[str, Callable[[bytes], nn.Module]] = {
    "the engine": load_as_engine,
    "the engine without the wrapper": lambda data: load_as_engine(as_bare_state_dict(data)),
}
"""How the engine can load a file of its architecture, by name."""
