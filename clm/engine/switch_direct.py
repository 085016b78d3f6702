"""The switch without root's helper, for an engine that runs as a plain process (development)."""

import os
from collections.abc import Callable
from pathlib import Path

from clm.artefacts.files import Owner, create_durably, remove_durably, sweep_temporaries
from clm.domain.line import Line
from clm.engine.env_file import EnvFile
from clm.engine.rewrite import back_to_shadow, go_live, rewrite
from clm.errors import ArtefactError, PromotionError
from clm.ports import OwnEngine


class DirectSwitch:
    """Implements ports.Switch for an engine that this user started."""

    def __init__(
        self,
        env_file: EnvFile,
        *,
        line: Line,
        engine: OwnEngine,
        models_dir: Path,
        checkpoint: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._env_file = env_file
        self._line = line
        self._engine = engine
        self._models_dir = models_dir
        self._checkpoint = checkpoint

    def refuse_unusable(self) -> None:
        """Return if the file can be replaced and models can be installed."""
        if not os.access(self._models_dir, os.W_OK | os.X_OK):
            raise PromotionError("MODELS_NOT_WRITABLE", f"{self._models_dir}: this user may not write there")
        self._env_file.refuse_unreplaceable(self._env_file.read())

    def is_installed(self, path: Path, sha256: str) -> bool:
        """Return True: a whole file is the only requirement."""
        return True

    def install(self, path: Path, source: Path | None, sha256: str) -> None:
        """Copy the model durably under its own name, readable for the engine's group."""
        if source is None:
            raise ArtefactError("FILE_MISSING", f"{path} is missing, and the registry has no copy")
        group = self._models_dir.stat().st_gid
        written = create_durably(path, source, mode=0o640, owner=Owner(gid=group))
        if written != sha256:
            raise ArtefactError(
                "ARTEFACT_TORN", f"{source} changed while it was copied: its sha256 is now {written}"
            )

    def remove(self, path: Path) -> None:
        """Remove the file durably."""
        remove_durably(path)

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Rewrite the value in the environment file."""
        rewrite(
            self._env_file,
            self._line.model_key,
            expected=None if expected is None else str(expected),
            target=None if target is None else str(target),
            sha256_before=env_sha256_before,
            before_replacing=lambda: self._checkpoint("rewriting"),
        )

    def restart(self, model_path: Path | None) -> None:
        """Restart the engine; it reads the file itself."""
        self._engine.restart()

    def refuse_changed(self, model_path: Path) -> None:
        """Return: this user and this process can change the same files."""

    def go_live(self, model_path: Path) -> None:
        """Disable shadow mode."""
        go_live(self._env_file, self._line)

    def go_shadow(self, model_path: Path) -> None:
        """Enable shadow mode again."""
        back_to_shadow(self._env_file, self._line)

    def sweep(self) -> tuple[str, ...]:
        """Remove temporary files of killed writers next to the environment file and the models."""
        return sweep_temporaries(self._models_dir) + self._env_file.sweep()
