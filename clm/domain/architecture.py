"""What is known of an architecture without torch: settings, audits and promotions ask this."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ENGINE = "engine"
"""The one that the existing engine is written for; a file without a manifest is taken to be of it."""
EngineLoads = Literal["existing", "serving"]
"""What an engine can load: files of ENGINE alone, or whatever a manifest names."""
MANY_FEATURES = 32
"""Features beyond which a first layer has more weights than a store of thousands of samples can teach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureFacts:
    """An architecture by name, and what it asks of the data and of the engine."""

    name: str
    max_features: int
    """Features of a data set at most."""
    fixed_channels: int | None
    """Channels of every file of it, those beyond the features unused; None: as many as there are features."""
    erases_levels: bool
    """Whether it takes the mean out of each window: a feature that is constant within one is lost."""
    loads_in_existing_engine: bool
    """Whether the existing engine can load it; all others need one that is built on clm.serving."""

    def loads_in(self, engine: EngineLoads) -> bool:
        """Return whether such an engine can load it."""
        return engine == "serving" or self.loads_in_existing_engine


def _facts(name: str, *, fixed_channels: int | None = None, erases_levels: bool = False) -> ArchitectureFacts:
    return ArchitectureFacts(
        name=name,
        max_features=fixed_channels or MANY_FEATURES,
        fixed_channels=fixed_channels,
        erases_levels=erases_levels,
        loads_in_existing_engine=name == ENGINE,
    )


KNOWN: Mapping[str, ArchitectureFacts] = MappingProxyType(
    {
        facts.name: facts
        for facts in (
            _facts(ENGINE, fixed_channels=8),
            _facts("patchtst"),
            _facts("patchtst-revin", erases_levels=True),
            _facts("patchtst-mix"),
        )
    }
)
"""By name; clm.models.catalogue has the networks."""
