"""ARCHITECTURES: what can be trained, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from clm.errors import TrainingError
from clm.models.engine import EngineConfig, EngineNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network by name and by what it takes: windows (batch, context_length, n_features)."""

    name: str
    n_features: int
    """Channels of the input; a store with fewer leaves the rest unused."""
    context_length: int
    input_layer: str
    """Its first layer, linear over whole steps with the channels innermost: takes the input scaling in."""
    output_layer: str
    """Its last layer, linear to one logit: takes the calibration in."""
    build: Callable[[float], nn.Module]
    """Returns a freshly drawn network for a dropout probability; torch's seed decides its weights."""


def _build_engine(dropout: float) -> nn.Module:
    return EngineNetwork(EngineConfig(dropout=dropout))


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        name="engine",
        n_features=8,
        context_length=128,
        input_layer="patch_embedding",
        output_layer="output_proj",
        build=_build_engine,
    ),
)


def linear_layer(model: nn.Module, name: str) -> nn.Linear:
    """Return a layer of the network by its name.

    Raises:
        TypeError: it is not linear.
    """
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is {type(layer).__name__}, not Linear")
    return layer


def architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN.
    """
    for known in ARCHITECTURES:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in ARCHITECTURES)
    raise TrainingError(
        "ARCHITECTURE_UNKNOWN", f"there is no architecture {name!r}; set CLM_ARCHITECTURE to one of: {names}"
    )
