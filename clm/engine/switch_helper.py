"""The switch through root's helper, which this user calls over a socket: see clm/switch."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from clm.domain.line import Line
from clm.engine.env_file import EnvFile
from clm.engine.switch_request import (
    MAX_BYTES,
    SOCKET,
    Action,
    Answer,
    Request,
    decode_answer,
    name_of,
)
from clm.errors import PromotionError

_ANSWER_WITHIN_S = 600.0
"""More than RuntimeMaxSec= of the helper's unit, which covers a restart and an earlier request."""

Ask = Callable[[Request], Answer]


def connected(path: Path = SOCKET) -> socket.socket:
    """Return a connection to the helper, which identifies the user who connected.

    Raises:
        PromotionError: SWITCH_FAILED with a remedy.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(str(path))
    except OSError as exc:
        connection.close()
        raise PromotionError(
            "SWITCH_FAILED",
            f"uid {os.geteuid()} cannot connect to {path} ({exc.strerror}); "
            "`systemctl start quantum-clm-switch.socket`, or run deploy/install.sh",
        ) from exc
    return connection


def ask(request: Request, connection: socket.socket | None = None) -> Answer:
    """Return the helper's reply; open a connection if none is given, and close it in any case.

    Raises:
        PromotionError: SWITCH_FAILED if the helper is unreachable or ends without a reply.
    """
    with connection or connected() as line:
        line.settimeout(_ANSWER_WITHIN_S)
        data = b""
        try:
            line.sendall(request.encode())
            # The helper closes the connection after its reply. The limit guards against a faulty one.
            while len(data) <= MAX_BYTES and (chunk := line.recv(MAX_BYTES)):
                data += chunk
            return decode_answer(data)
        except (OSError, PromotionError) as exc:
            raise PromotionError(
                "SWITCH_FAILED",
                f"the helper ended without a reply to {request.action} {request.name} ({exc}); "
                "see `journalctl -u 'quantum-clm-switch@*'`",
            ) from exc


class HelperSwitch:
    """Implements ports.Switch with root's helper."""

    def __init__(
        self,
        env_file: EnvFile,
        *,
        line: Line,
        models_dir: Path,
        ask: Ask = ask,
        ask_as_root: Ask = ask,
        helpers_uid: int = 0,
        checkpoint: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._env_file = env_file
        self._line = line
        self._models_dir = models_dir
        self._ask = ask
        self._ask_as_root = ask_as_root
        self._helpers_uid = helpers_uid
        self._checkpoint = checkpoint

    def refuse_unusable(self) -> None:
        """Check with the helper that a switch is possible."""
        self._give(Request(action=Action.CHECK))

    def is_installed(self, path: Path, sha256: str) -> bool:
        """Return whether root owns the file; the caller compares its content."""
        status = path.lstat()
        # Root's read-only file cannot be changed by the user who trains, so a checked hash stays true.
        return status.st_uid == self._helpers_uid and status.st_mode & 0o222 == 0

    def install(self, path: Path, source: Path | None, sha256: str) -> None:
        """Copy the registry's file; the helper finds the source itself."""
        self._give(Request(action=Action.INSTALL, name=path.stem, sha256=sha256))

    def remove(self, path: Path) -> None:
        """Remove a version."""
        if not self._line.is_version(path.stem):
            raise PromotionError("SWITCH_REFUSED", f"{path} is not named like a version; remove it by hand")
        self._give(Request(action=Action.REMOVE, name=path.stem))

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Rewrite the value; to remove a line, the helper uses its own record of the earlier hash."""
        self._checkpoint("rewriting")
        name = self._name_of(target)
        self._give(Request(action=Action.POINT, name=name, expected=_text(expected)))

    def restart(self, model_path: Path | None) -> None:
        """Restart the engine."""
        self._give(Request(action=Action.RESTART, name=self._name_of(model_path)))

    def refuse_changed(self, model_path: Path) -> None:
        """Compare the file with its state before the restart."""
        self._give(Request(action=Action.CONFIRM, name=self._name_of(model_path)))

    def go_live(self, model_path: Path) -> None:
        """Disable shadow mode; the helper allows this only to root."""
        self._give(self._flag(Action.GO_LIVE, model_path), self._ask_as_root)

    def go_shadow(self, model_path: Path) -> None:
        """Enable shadow mode again."""
        self._give(self._flag(Action.GO_SHADOW, model_path))

    def sweep(self) -> tuple[str, ...]:
        """Remove files that a killed helper left, if any; return their names."""
        directories = (self._env_file.path.resolve().parent, self._models_dir)
        left = tuple(
            sorted(path.name for directory in directories for path in directory.glob(".*.clm-*.tmp"))
        )
        # CHECK also makes the helper sweep its files, which this user cannot remove.
        if left:
            self.refuse_unusable()
        return left

    def _flag(self, action: Action, model_path: Path) -> Request:
        return Request(action=action, name=self._name_of(model_path))

    def _name_of(self, model_path: Path | None) -> str:
        return name_of(_text(model_path), self._models_dir, self._line)

    def _give(self, request: Request, ask: Ask | None = None) -> None:
        answer = (ask or self._ask)(request)
        if answer.code:
            raise PromotionError(answer.code, answer.message)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
