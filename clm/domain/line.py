"""A model line: one family of models, and its names in the engine and the trading system.

Standard library only, because root's helper imports it. A process takes its line from the settings (the
helper from its `Site`) and passes it to what it builds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_MOMENT = "%Y%m%d_%H%M%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One family of models and the engine that serves it. One daemon works for one line."""

    family: str
    """Name of the family on the wire, in the store and at the start of every version."""
    model_key: str
    """Variable of the engine's environment file that holds the path of the served model."""
    shadow_key: str
    """Variable of the same file; `true` keeps the model from voting."""
    engine_unit: str
    """Default name of the engine's systemd unit."""
    context_length: int
    """Rows of a model's input window."""

    @property
    def version_pattern(self) -> re.Pattern[str]:
        """Return the pattern of a version, which is also the stem of the file that the engine loads."""
        return re.compile(rf"{re.escape(self.family)}_v[0-9]{{8}}_[0-9]{{6}}")

    @property
    def file_pattern(self) -> re.Pattern[str]:
        """Return the pattern of the file names that an engine of this line looks for."""
        return re.compile(rf"{re.escape(self.family)}_v.*\.(pth|pkl)")

    def version(self, now: datetime) -> str:
        """Return `<family>_v<UTC>`; two calls in one second return the same name."""
        return f"{self.family}_v{now.astimezone(UTC):{_MOMENT}}"

    def is_version(self, name: str) -> bool:
        """Return whether this is exactly the name of a version."""
        return self.version_pattern.fullmatch(name) is not None

    def made_at(self, version: str) -> datetime | None:
        """Return the moment in a version's name, or None if the name holds no moment."""
        moment = version.removeprefix(f"{self.family}_v")
        try:
            return datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC)
        except ValueError:
            return None

    def is_shadow_only(self, variables: Mapping[str, str]) -> bool:
        """Return whether the engine only watches with its model; any value but `true` lets the model vote."""
        return variables.get(self.shadow_key, "").strip().lower() == "true"


DEFAULT_LINE = Line(
    family="patchtst",
    model_key="PATCHTST_MODEL_PATH",
    shadow_key="PATCHTST_SHADOW_ONLY",
    engine_unit="quantum-ai-engine.service",
    context_length=128,
)
"""The line that this project serves."""
