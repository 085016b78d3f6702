"""All settings: the sections in the order of clm.env, and rules across sections."""

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from clm.data.candles.catalogue import FEATURE_NAMES
from clm.data.candles.windows import PREFIX as PREFIX_OF_CANDLES
from clm.domain.architecture import ENGINE, KNOWN
from clm.settings.everyday import Bus, Judged, Places, Promoting, When
from clm.settings.groups import (
    Cycles,
    Data,
    Disk,
    Engine,
    Evaluation,
    Gates,
    Kept,
    Limits,
    Rejection,
    Replaced,
    Training,
    Tuning,
)
from clm.settings.section import Section

EVERYDAY: tuple[type[Section], ...] = (Places, When, Judged, Promoting, Bus)
"""In the shipped clm.env."""
GROUPS: tuple[type[Section], ...] = (
    Cycles,
    Data,
    Training,
    Limits,
    Evaluation,
    Gates,
    Rejection,
    Tuning,
    Engine,
    Kept,
    Disk,
)
"""Shown by `clm example-config --all`."""


class Fields(
    Places,
    When,
    Judged,
    Promoting,
    Bus,
    Cycles,
    Data,
    Training,
    Limits,
    Evaluation,
    Gates,
    Rejection,
    Tuning,
    Engine,
    Kept,
    Disk,
    Replaced,
):
    """All settings of quantum-clm with their defaults; the code uses the flat names of the fields."""

    @model_validator(mode="before")
    @classmethod
    def _below_root(cls, values: dict[str, Any]) -> dict[str, Any]:
        root = values.get("root")
        if not root:
            return values
        values = dict(values)
        # Only defaults move: a path that was given is meant as it is.
        for name in ("store", "state_dir", "models_dir", "engine_env_file", "candles_dir"):
            if name not in values:
                values[name] = below(Path(str(root)), cls.model_fields[name].default)
        return values

    @model_validator(mode="after")
    def _parts_leave_a_test(self) -> Self:
        # Checked here: otherwise it would fail only after the samples are read.
        if self.train_share + self.validation_share >= 0.95:
            raise ValueError(
                "CLM_DATA__TRAIN_SHARE + CLM_DATA__VALIDATION_SHARE must leave at least 0.05 for the test"
            )
        test_share = 1 - self.train_share - self.validation_share
        if self.train_share - (self.folds - 1) * test_share < 0.05:
            raise ValueError("CLM_DATA__FOLDS leaves the first fold less than 0.05 to train on; set fewer")
        return self

    @model_validator(mode="after")
    def _candles_have_these_features(self) -> Self:
        for name in self.features if self.window_source == "candles" else ():
            if (
                name.startswith(PREFIX_OF_CANDLES)
                and name.removeprefix(PREFIX_OF_CANDLES) not in FEATURE_NAMES
            ):
                raise ValueError(
                    f"CLM_FEATURES: candles have no {name}; they have {', '.join(FEATURE_NAMES)}"
                )
        return self

    @model_validator(mode="after")
    def _engine_loads_the_architecture(self) -> Self:
        if not KNOWN[self.architecture].loads_in(self.engine_loads):
            raise ValueError(
                f"CLM_ARCHITECTURE={self.architecture} cannot be loaded by the existing engine: set "
                f"CLM_ARCHITECTURE={ENGINE}, or CLM_ENGINE__LOADS=serving for an engine built on clm.serving"
            )
        return self

    @model_validator(mode="after")
    def _engine_can_be_controlled(self) -> Self:
        if self.engine_control == "process" and not self.engine_command:
            raise ValueError("CLM_ENGINE__CONTROL=process needs CLM_ENGINE__COMMAND")
        return self


def below(root: Path, path: Path) -> Path:
    """Return `path` as seen below `root`."""
    return root / path.relative_to("/")
