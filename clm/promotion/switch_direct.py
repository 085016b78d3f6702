"""The switch made by this process itself: it may write the environment file and restart the engine."""

from collections.abc import Callable
from pathlib import Path

from clm.ports import Engine
from clm.promotion.env_file import EnvFile
from clm.promotion.rewrite import rewrite


class DirectSwitch:
    """Fulfils ports.Switch where this user was given both rights, and in development."""

    def __init__(
        self,
        env_file: EnvFile,
        *,
        key: str,
        engine: Engine,
        checkpoint: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._env_file = env_file
        self._key = key
        self._engine = engine
        self._checkpoint = checkpoint

    def refuse_unusable(self) -> None:
        """Return when the file could be replaced and the engine restarted now."""
        self._env_file.refuse_unreplaceable(self._env_file.read())
        self._engine.refuse_uncontrollable()

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Rewrite the one value."""
        rewrite(
            self._env_file,
            self._key,
            expected=None if expected is None else str(expected),
            target=None if target is None else str(target),
            sha256_before=env_sha256_before,
            before_replacing=lambda: self._checkpoint("rewriting"),
        )

    def restart(self, model_path: Path | None) -> None:
        """Restart the engine; it reads the file itself."""
        self._engine.restart()

    def sweep(self) -> tuple[str, ...]:
        """Remove what a killed writer left beside the file."""
        return self._env_file.sweep()
