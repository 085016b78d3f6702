"""The engine that serves the model, and what switches its model."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class EngineStatus(StrEnum):
    """What the service manager says of the engine."""

    ACTIVE = "active"
    ACTIVATING = "activating"
    INACTIVE = "inactive"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineObservation:
    """The engine as observed, never as meant."""

    status: EngineStatus
    main_pid: int | None
    invocation_id: str
    """Changes with every start."""
    restarts: int
    model_path: str | None
    """The line's model key in /proc/<pid>/environ; None if it is unreadable or unset."""
    detail: str = ""
    runs_as_root: bool = False
    """Who writes the environment of such an engine is root."""


class Engine(Protocol):
    """The unit (or process) that serves the model."""

    def observe(self) -> EngineObservation:
        """Raises PromotionError ENGINE_UNREACHABLE where the service manager does not answer."""
        ...


class OwnEngine(Engine, Protocol):
    """An engine that is a process of ours, which we may restart."""

    def restart(self) -> None:
        """Restart and return when it has started.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED, ENGINE_UNREACHABLE.
        """
        ...


class Switch(Protocol):
    """Does what a promotion changes on the server: models directory, environment file, engine.

    Everything can be done again: what is as it should be already is left alone.
    """

    def refuse_unusable(self) -> None:
        """Return if a switch could be made now; nothing that serves is touched.

        Raises:
            PromotionError: the first thing that stands in the way.
        """
        ...

    def is_installed(self, path: Path, sha256: str) -> bool:
        """Return whether the file at `path`, which is whole, was put there by this switch.

        Raises:
            OSError: it cannot be examined.
        """
        ...

    def install(self, path: Path, source: Path | None, sha256: str) -> None:
        """Copy a registered model to `path` in the models directory; durable when this returns.

        Raises:
            ArtefactError, PromotionError: ARTEFACT_TORN, FILE_TAKEN, DISK_FULL, and those of the helper.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a model from the models directory; one that is gone already is no error.

        Raises:
            ArtefactError, PromotionError: it stays.
        """
        ...

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Make the environment file name `target` where it names `expected`; durable when this returns.

        A `target` of None takes the line away; `env_sha256_before` says in which form it was absent.

        Raises:
            PromotionError: ENV_CHANGED where it names something else, the codes of `EnvFile`, and those of
                root's helper.
            ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION; the file is whole, old or new.
        """
        ...

    def restart(self, model_path: Path | None) -> None:
        """Restart the engine on the model that the file names, which is `model_path`.

        Raises:
            PromotionError: as `OwnEngine.restart`; MODEL_CHANGED where the file was replaced meanwhile.
        """
        ...

    def refuse_changed(self, model_path: Path) -> None:
        """Return if the file is still the one that the engine was restarted on.

        Raises:
            PromotionError: MODEL_CHANGED.
        """
        ...

    def go_live(self, model_path: Path) -> None:
        """Switch the shadow mode off for the model that the file names; the engine is not restarted.

        Raises:
            PromotionError: ALREADY_LIVE, SWITCH_REFUSED where this user may not. ArtefactError.
        """
        ...

    def go_shadow(self, model_path: Path) -> None:
        """Switch the shadow mode on again, byte for byte where possible; the engine is not restarted.

        Raises:
            PromotionError, ArtefactError: the file stays as it is.
        """
        ...

    def sweep(self) -> tuple[str, ...]:
        """Remove what killed writers left next to the environment file and the models; return known names."""
        ...
