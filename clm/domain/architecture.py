"""Facts about architectures that need no torch; settings, audits and promotions use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ENGINE = "engine"
"""The architecture of the existing engine. A file without a manifest is assumed to have it."""
EngineLoads = Literal["existing", "serving"]
"""What an engine can load: only files of ENGINE, or every architecture that a manifest names."""
MANY_FEATURES = 32
"""Maximum features; with more, the first layer has too many weights for a few thousand samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchitectureFacts:
    """An architecture and its requirements on the data and on the engine."""

    name: str
    max_features: int
    """Maximum number of features of a data set."""
    fixed_channels: int | None
    """Channels of every file; channels beyond the features are unused. None: one channel for each feature."""
    erases_levels: bool
    """Whether it subtracts the mean of each window, so a feature that is constant in a window is lost."""
    loads_in_existing_engine: bool
    """Whether the existing engine can load it; otherwise the engine must use clm.serving."""

    def loads_in(self, engine: EngineLoads) -> bool:
        """Return whether this kind of engine can load it."""
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
"""Facts by name; clm.models.catalogue has the networks."""
