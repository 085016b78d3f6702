"""Requests to root's helper and its replies over the socket: one JSON line each.

A request names a target and never a path. The helper resolves the name to a value of the environment file:

    <family>_v20260109_233444   a version in the models directory that the helper itself put there, or found
                                in the environment file
    other-3f1c0a9be277          another path that the helper found in the environment file, by its hash
    none                        no line, where the helper found none
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from clm.domain.line import Line
from clm.errors import PromotionError

SOCKET = Path("/run/quantum-clm-switch.sock")
NO_MODEL = "none"
MAX_BYTES = 16 * 1024
"""Maximum size of a request and of a reply."""

_OTHER = re.compile(r"other-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Action(StrEnum):
    """The helper's actions."""

    CHECK = "check"
    """Report whether a switch is possible, and remove files of a killed helper."""
    INSTALL = "install"
    """Copy a registered version into the models directory as root's file."""
    POINT = "point"
    """Make the environment file name the target."""
    RESTART = "restart"
    """Restart the engine on the target, which the environment file names."""
    CONFIRM = "confirm"
    """Report whether the target's file is still the one that the engine was restarted on."""
    REMOVE = "remove"
    """Remove a version from the models directory, unless the environment file names it."""
    GO_LIVE = "go_live"
    """Disable shadow mode; only root may request this."""
    GO_SHADOW = "go_shadow"
    """Enable shadow mode again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to the helper."""

    action: Action
    name: str = NO_MODEL
    """Name of the target."""
    expected: str | None = None
    """POINT: what the environment file must name now; compared, never written."""
    sha256: str = ""
    """INSTALL: hash of the file to copy. Other actions: empty."""

    def encode(self) -> bytes:
        """Return the line that travels."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The helper's reply; an empty code means success."""

    code: str = ""
    message: str = ""

    def encode(self) -> bytes:
        """Return the line that travels; an over-long message is cut."""
        return json.dumps({"code": self.code, "message": self.message[:2000]}).encode() + b"\n"


def name_of(path: str | None, models_dir: Path, line: Line) -> str:
    """Return the target name for a value of the environment file."""
    if path is None:
        return NO_MODEL
    stem = Path(path).stem
    # A version's name stands for one path only. Any other path is named by its hash, so that a request can
    # never contain a path.
    if line.is_version(stem) and path == str(models_dir / f"{stem}.pth"):
        return stem
    return f"other-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def decode_request(data: bytes, line: Line) -> Request:
    """Parse an untrusted request about a model of this line.

    Raises:
        PromotionError: SWITCH_REQUEST unless it has exactly the fields of a request.
    """
    plain = _fields(data, {"action": str, "name": str, "expected": str | None, "sha256": str})
    try:
        action = Action(str(plain["action"]))
    except ValueError as exc:
        raise _malformed("its action is unknown") from exc
    name, sha256 = str(plain["name"]), str(plain["sha256"])
    if not (line.is_version(name) or _OTHER.fullmatch(name) or name == NO_MODEL):
        raise _malformed("its target has no valid name")
    if action in {Action.INSTALL, Action.REMOVE} and not line.is_version(name):
        raise _malformed("its target is not a version")
    if not _SHA256.fullmatch(sha256) if action is Action.INSTALL else sha256:
        raise _malformed("its sha256 is not 64 hexadecimal digits, or is not allowed here")
    return Request(action=action, name=name, expected=plain["expected"], sha256=sha256)


def decode_answer(data: bytes) -> Answer:
    """Parse the helper's reply.

    Raises:
        PromotionError: SWITCH_REQUEST.
    """
    plain = _fields(data, {"code": str, "message": str})
    return Answer(code=str(plain["code"]), message=str(plain["message"]))


def _fields(data: bytes, types: Mapping[str, object]) -> Mapping[str, str | None]:
    if len(data) > MAX_BYTES:
        raise _malformed(f"it has more than {MAX_BYTES} bytes")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _malformed("it is not JSON") from exc
    # Exact fields: an unknown one may carry a meaning that this helper would ignore.
    if not isinstance(plain, dict) or plain.keys() != types.keys():
        raise _malformed(f"it does not have exactly the fields {', '.join(types)}")
    for field, kind in types.items():
        if not isinstance(plain[field], kind):  # type: ignore[arg-type]
            raise _malformed(f"its field {field} has the wrong type")
    return plain


def _malformed(why: str) -> PromotionError:
    return PromotionError("SWITCH_REQUEST", f"the line cannot be read: {why}; nothing was done")
