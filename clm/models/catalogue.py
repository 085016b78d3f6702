"""ARCHITECTURES: the networks that can be trained, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from torch import nn

from clm.domain.architecture import ENGINE, KNOWN, ArchitectureFacts
from clm.errors import TrainingError
from clm.models.engine import EngineConfig, EngineNetwork
from clm.models.patchtst import PatchTST, PatchTSTConfig
from clm.models.patchtst_mix import MixConfig, PatchTSTMix
from clm.models.scaling import Fold, fold_into_buffers, fold_into_weights

CONTEXT_LENGTH = 128
LISTED_CHANNELS = 8
"""Number of input channels of a listed architecture; `sized` returns a copy with another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network that can be trained. Its input is a batch of windows (batch, context_length, n_features)."""

    facts: ArchitectureFacts
    draw: Callable[[float, int], nn.Module]
    """Returns a randomly initialised network for a dropout probability and a number of channels."""
    fold_scaling: Fold
    """Makes the trained network accept raw windows."""
    output_layer: str
    """Name of the last layer, linear to one logit; the calibration is folded into it."""
    n_features: int = LISTED_CHANNELS
    """Input channels; a data set with fewer features leaves the other channels unused."""
    context_length: int = CONTEXT_LENGTH

    @property
    def name(self) -> str:
        """Return the name that settings and manifests use."""
        return self.facts.name

    def sized(self, n_features: int) -> Self:
        """Return this architecture for a data set with `n_features` features.

        An architecture with a fixed number of channels is returned unchanged.

        Raises:
            TrainingError: JOB_UNREADABLE, there are too many features.
        """
        # An architecture with a fixed number of channels has no input for a further feature.
        if n_features > self.facts.max_features:
            raise TrainingError(
                "JOB_UNREADABLE",
                f"architecture {self.name} takes at most {self.facts.max_features} features, "
                f"but the data has {n_features}",
            )
        return self if self.facts.fixed_channels else replace(self, n_features=n_features)

    def build(self, dropout: float) -> nn.Module:
        """Return a randomly initialised network; torch's seed determines its weights."""
        return self.draw(dropout, self.n_features)


# A tuple, so that the order is stable: error messages list the names in it, and tests run over all of them.
ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        facts=KNOWN[ENGINE],
        draw=lambda dropout, n: EngineNetwork(EngineConfig(n_features=n, dropout=dropout)),
        # The engine loads exactly the keys of this network, so the scaling has no buffers to go into. Its
        # embedding is linear over whole steps and can hold it.
        fold_scaling=fold_into_weights,
        output_layer="output_proj",
    ),
    Architecture(
        # Channels share one embedding, which cannot hold a scale per channel: the scaling goes into buffers.
        facts=KNOWN["patchtst"],
        draw=lambda dropout, n: PatchTST(PatchTSTConfig(n_channels=n, dropout=dropout)),
        fold_scaling=fold_into_buffers,
        output_layer="output_proj",
    ),
    Architecture(
        facts=KNOWN["patchtst-revin"],
        draw=lambda dropout, n: PatchTST(PatchTSTConfig(n_channels=n, dropout=dropout, instance_norm=True)),
        fold_scaling=fold_into_buffers,
        output_layer="output_proj",
    ),
    Architecture(
        # The newest step reaches the output layer without passing the embedding, so folding into the
        # embedding alone would leave that path unscaled.
        facts=KNOWN["patchtst-mix"],
        draw=lambda dropout, n: PatchTSTMix(MixConfig(n_channels=n, dropout=dropout)),
        fold_scaling=fold_into_buffers,
        output_layer="output_proj",
    ),
)


def architecture(name: str) -> Architecture:
    """Return the architecture with this name.

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
