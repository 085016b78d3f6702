"""The switch made by root's helper, which this user may ask over a socket and cannot bend: see clm/switch."""

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
"""Above RuntimeMaxSec= of the helper's unit, which covers a restart and a wait for an earlier request."""

Ask = Callable[[Request], Answer]


def connected(path: Path = SOCKET) -> socket.socket:
    """Return a connection to the helper; the helper knows its user as the one who connected.

    Raises:
        PromotionError: SWITCH_FAILED with what to do.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(str(path))
    except OSError as exc:
        connection.close()
        raise PromotionError(
            "SWITCH_FAILED",
            f"{path} cannot be connected to by uid {os.geteuid()} ({exc.strerror}); "
            "`systemctl start quantum-clm-switch.socket`, or run deploy/install.sh",
        ) from exc
    return connection


def ask(request: Request, connection: socket.socket | None = None) -> Answer:
    """Return the helper's answer; without a connection a new one is made, and it is closed either way.

    Raises:
        PromotionError: SWITCH_FAILED where the helper cannot be reached or ends without an answer.
    """
    with connection or connected() as line:
        line.settimeout(_ANSWER_WITHIN_S)
        data = b""
        try:
            line.sendall(request.encode())
            while len(data) <= MAX_BYTES and (chunk := line.recv(MAX_BYTES)):
                data += chunk
            return decode_answer(data)
        except (OSError, PromotionError) as exc:
            raise PromotionError(
                "SWITCH_FAILED",
                f"the helper ended without an answer to {request.action} {request.name} ({exc}); "
                "see `journalctl -u 'quantum-clm-switch@*'`",
            ) from exc


class HelperSwitch:
    """Fulfils ports.Switch by asking root's helper."""

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
        """Let the helper say whether it could make a switch."""
        self._give(Request(action=Action.CHECK))

    def is_installed(self, path: Path, sha256: str) -> bool:
        """Return whether the file is root's own; its content is compared by the caller."""
        status = path.lstat()
        return status.st_uid == self._helpers_uid and status.st_mode & 0o222 == 0

    def install(self, path: Path, source: Path | None, sha256: str) -> None:
        """Have the registry's file copied; the helper finds the source by itself."""
        self._give(Request(action=Action.INSTALL, name=path.stem, sha256=sha256))

    def remove(self, path: Path) -> None:
        """Have a version removed."""
        if not self._line.is_version(path.stem):
            raise PromotionError("SWITCH_REFUSED", f"{path} is not named as a version; remove it by hand")
        self._give(Request(action=Action.REMOVE, name=path.stem))

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Have the one value rewritten; of a line that is to go the helper knows the former hash itself."""
        self._checkpoint("rewriting")
        name = self._name_of(target)
        self._give(Request(action=Action.POINT, name=name, expected=_text(expected)))

    def restart(self, model_path: Path | None) -> None:
        """Have the engine restarted."""
        self._give(Request(action=Action.RESTART, name=self._name_of(model_path)))

    def refuse_changed(self, model_path: Path) -> None:
        """Have the file compared with what it was before the restart."""
        self._give(Request(action=Action.CONFIRM, name=self._name_of(model_path)))

    def go_live(self, model_path: Path) -> None:
        """Have the shadow mode switched off; the helper grants it to root only."""
        self._give(self._flag(Action.GO_LIVE, model_path), self._ask_as_root)

    def go_shadow(self, model_path: Path) -> None:
        """Have the shadow mode switched on again."""
        self._give(self._flag(Action.GO_SHADOW, model_path))

    def sweep(self) -> tuple[str, ...]:
        """Have the helper remove what one of its kind left, if there is anything; return the names."""
        directories = (self._env_file.path.resolve().parent, self._models_dir)
        left = tuple(
            sorted(path.name for directory in directories for path in directory.glob(".*.clm-*.tmp"))
        )
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
