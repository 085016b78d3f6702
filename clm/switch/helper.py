"""How root's helper handles a request: verify, act, and reply with a code."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clm.artefacts.files import sweep_temporaries
from clm.engine.directory_lock import directory_lock
from clm.engine.env_file import value_of
from clm.engine.rewrite import back_to_shadow, go_live, rewrite
from clm.engine.switch_request import Action, Answer, Request, name_of
from clm.engine.systemctl import RESTART_TIMEOUT_S
from clm.errors import ArtefactError, ClmError, PromotionError
from clm.switch import models
from clm.switch.site import Site
from clm.switch.trust import weakness

LOCK_WAIT_S = RESTART_TIMEOUT_S + 10.0
"""Time to wait for an earlier request, such as that of a daemon that crashed."""


class Unit(Protocol):
    """The engine's unit."""

    def refuse_root(self) -> None:
        """Raise PromotionError ENGINE_RUNS_AS_ROOT if the engine has root's rights."""
        ...

    def restart(self) -> None:
        """Restart the engine; raises PromotionError ENGINE_RESTART_FAILED."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """Handles a user's requests."""

    site: Site
    unit: Unit
    uid: int
    """The requesting user."""
    checkpoint: Callable[[str], None] = lambda _point: None
    """Called with the name of each completed step; tests end the process there."""
    lock_wait_s: float = LOCK_WAIT_S

    def serve(self, request: Request) -> Answer:
        """Execute the request once; every failure becomes a reply."""
        try:
            if request.action is Action.GO_LIVE and self.uid != 0:
                raise PromotionError("SWITCH_REFUSED", "only root may let the engine trade; nothing was done")
            with self._alone():
                self._sweep_own_directory()
                _ACTIONS[request.action](self, request)
        except ClmError as error:
            return Answer(code=error.code, message=error.message)
        except OSError as error:
            failed = ArtefactError("IO_ERROR", f"{error.filename or 'a file'}: {error.strerror}")
            return Answer(code=failed.code, message=failed.message)
        self.checkpoint("helper_answered")
        return Answer()

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        return directory_lock(
            self.site.own_dir, missing="SWITCH_FAILED", busy="SWITCH_BUSY", wait_s=self.lock_wait_s
        )

    def _sweep_own_directory(self) -> None:
        """Remove temporary files of a killed helper that the daemon's user cannot see."""
        for directory in (self.site.own_dir, self.site.own_dir / models.NOTES):
            if directory.is_dir():
                with contextlib.suppress(ArtefactError):  # the request does not depend on it
                    sweep_temporaries(directory)

    def _check(self, _request: Request) -> None:
        """Check whether a switch is possible, and remove files of a killed helper."""
        self._refuse_unsafe()
        self.site.env_file.sweep()
        models.sweep(self.site)
        snapshot = self.site.env_file.read()
        value_of(snapshot.data, self.site.line.model_key)
        self.site.env_file.refuse_unreplaceable(snapshot)

    def _refuse_unsafe(self) -> None:
        """Reject an engine with root's rights, or an environment file that other users can replace."""
        self.unit.refuse_root()
        if why := weakness(self.site.env_file.path.resolve().parent):
            raise PromotionError(
                "ENV_UNTRUSTED",
                f"{self.site.env_file.path} decides what the engine runs, and {why}; run deploy/install.sh",
            )

    def _install(self, request: Request) -> None:
        models.install(self.site, request.name, request.sha256, uid=self.uid)
        self.checkpoint("helper_installed")

    def _point(self, request: Request) -> None:
        self._refuse_unsafe()
        target = models.target_of(self.site, request.name)
        self.checkpoint("helper_verified")
        self.site.env_file.sweep()
        snapshot = self.site.env_file.read()
        found = value_of(snapshot.data, self.site.line.model_key)
        if found != target.value:
            models.remember(self.site, found, snapshot.sha256)
        rewrite(
            self.site.env_file,
            self.site.line.model_key,
            expected=request.expected,
            target=target.value,
            sha256_before=target.env_sha256,
            before_replacing=lambda: self.checkpoint("helper_rewriting"),
        )
        self.checkpoint("helper_pointed")

    def _restart(self, request: Request) -> None:
        """Restart on the model that the environment file names, if the file is the same before and after."""
        self._refuse_unsafe()
        note = models.named_now(self.site, self._named(request))
        before = models.fingerprint(self.site, note) if note.is_verifiable(self.site) else None
        models.note_served(self.site, before)
        self.unit.restart()
        self.checkpoint("helper_restarted")
        self._refuse_changed(note)

    def _confirm(self, request: Request) -> None:
        """Compare the file with its state before the restart."""
        self._refuse_changed(models.named_now(self.site, self._named(request)))

    def _refuse_changed(self, note: models.Note) -> None:
        before = models.served(self.site)
        if before is None or not note.is_verifiable(self.site):
            return
        if models.fingerprint(self.site, note) != before:
            raise PromotionError("MODEL_CHANGED", f"{note.value} was replaced or changed since the restart")

    def _named(self, request: Request) -> str | None:
        """Return the value in the environment file if it is the target.

        Raises:
            PromotionError: ENV_CHANGED.
        """
        named = value_of(self.site.env_file.read().data, self.site.line.model_key)
        if name_of(named, self.site.models_dir, self.site.line) != request.name:
            raise PromotionError(
                "ENV_CHANGED",
                f"{self.site.env_file.path} names {named or 'no model'} and not {request.name}",
            )
        return named

    def _remove(self, request: Request) -> None:
        named, path = (
            value_of(self.site.env_file.read().data, self.site.line.model_key),
            self.site.models_dir / f"{request.name}.pth",
        )
        is_served = (
            named is not None and Path(named).exists() and path.exists() and Path(named).samefile(path)
        )
        if is_served or named == str(path):
            raise PromotionError("SWITCH_REFUSED", f"{self.site.env_file.path} names {named}; it stays")
        models.remove(self.site, request.name)

    def _go_live(self, request: Request) -> None:
        self._refuse_unsafe()
        note = models.named_now(self.site, self._named(request))
        if note.is_verifiable(self.site):
            models.fingerprint(self.site, note)
        go_live(self.site.env_file, self.site.line)

    def _go_shadow(self, request: Request) -> None:
        self._refuse_unsafe()
        self._named(request)
        back_to_shadow(self.site.env_file, self.site.line)


_ACTIONS: dict[Action, Callable[[Helper, Request], None]] = {
    Action.CHECK: Helper._check,
    Action.INSTALL: Helper._install,
    Action.POINT: Helper._point,
    Action.RESTART: Helper._restart,
    Action.CONFIRM: Helper._confirm,
    Action.REMOVE: Helper._remove,
    Action.GO_LIVE: Helper._go_live,
    Action.GO_SHADOW: Helper._go_shadow,
}
