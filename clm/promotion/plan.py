"""What to do next, from what is observed: promoting and rolling back are the same question."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Step(StrEnum):
    """One redoable step towards a target."""

    INSTALL = "INSTALL"
    POINT = "POINT"
    RESTART = "RESTART"
    CONFIRM = "CONFIRM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the engine shall be."""

    model_path: Path | None
    """None: the environment file names no model, as it was before the first promotion."""
    must_serve: bool = True
    """False where the engine did not serve before: then it only has to be off the other model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Where everything stands."""

    installed: bool
    """The target's file lies in the models directory, whole."""
    env_value: str | None
    engine_running: bool
    engine_path: str | None
    restarted: bool
    """We restarted the engine for this target since we began."""
    confirmed: bool
    """It has been stable on the target for as long as the policy asks."""


def next_step(observed: Observed, target: Target) -> Step | None:
    """Return the one step that is still to be done, None when the target is reached."""
    path = None if target.model_path is None else str(target.model_path)
    if path is not None and not observed.installed:
        return Step.INSTALL
    if observed.env_value != path:
        return Step.POINT
    on_target = observed.engine_running and observed.engine_path == path
    idle = not target.must_serve and not observed.engine_running
    if not observed.restarted and not on_target and not idle:
        return Step.RESTART
    if target.must_serve and not observed.confirmed:
        return Step.CONFIRM
    return None
