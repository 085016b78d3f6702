"""ARCHITECTURES: what can be trained, by name."""

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
"""Channels of an architecture as it is listed; `sized` makes others of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network by name and by what it takes: windows (batch, context_length, n_features)."""

    facts: ArchitectureFacts
    draw: Callable[[float, int], nn.Module]
    """Returns a freshly drawn network for a dropout probability and a number of channels."""
    fold_scaling: Fold
    """Makes the trained network read raw windows."""
    output_layer: str
    """Its last layer, linear to one logit: takes the calibration in."""
    n_features: int = LISTED_CHANNELS
    """Channels of the input; a data set with fewer features leaves the rest unused."""
    context_length: int = CONTEXT_LENGTH

    @property
    def name(self) -> str:
        """What settings and manifests call it."""
        return self.facts.name

    def sized(self, n_features: int) -> Self:
        """Return it for a data set of so many features; one of fixed channels stays as it is.

        Raises:
            TrainingError: JOB_UNREADABLE, they are too many.
        """
        if n_features > self.facts.max_features:
            raise TrainingError(
                "JOB_UNREADABLE",
                f"architecture {self.name} takes at most {self.facts.max_features} features, "
                f"there are {n_features}",
            )
        return self if self.facts.fixed_channels else replace(self, n_features=n_features)

    def build(self, dropout: float) -> nn.Module:
        """Return a freshly drawn network; torch's seed decides its weights."""
        return self.draw(dropout, self.n_features)


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        facts=KNOWN[ENGINE],
        draw=lambda dropout, n: EngineNetwork(EngineConfig(n_features=n, dropout=dropout)),
        fold_scaling=fold_into_weights,
        output_layer="output_proj",
    ),
    Architecture(
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
        facts=KNOWN["patchtst-mix"],
        draw=lambda dropout, n: PatchTSTMix(MixConfig(n_channels=n, dropout=dropout)),
        fold_scaling=fold_into_buffers,
        output_layer="output_proj",
    ),
)


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
