"""What travels between the daemon and the root helper of the switch: an order, and a report.

Neither holds a path that is written anywhere. The order names its target in one of three ways, and the
helper knows by itself which value of the environment file each stands for:

    patchtst_v20260109_233444   this version in the models directory, as its manifest says, or as the
                                helper itself found it in the environment file
    other-3f1c0a9be277          a path that the helper itself found in the file, by its hash
    none                        no line at all, where the helper itself found none
"""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from clm.domain.ids import VERSION_PATTERN
from clm.errors import PromotionError

CHECK = "check"
"""The one name that asks for nothing but whether a switch could be made; it needs no order."""
NO_MODEL = "none"
UNIT = "quantum-clm-switch@{name}.service"
ORDER_FILE = "order.json"
REPORT_FILE = "report.json"
CHECK_FILE = "check.json"
MAX_BYTES = 16 * 1024

_NAME = re.compile(rf"{VERSION_PATTERN.pattern}|other-[0-9a-f]{{12}}|{NO_MODEL}")


class Action(StrEnum):
    """One of the two visible steps of a promotion."""

    POINT = "point"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One step, asked for."""

    order_id: str
    """Random; the report repeats it, so that an older one is not taken for the answer."""
    action: Action
    name: str
    """Of the target."""
    expected: str | None
    """What the file must name for the target to take its place; compared, never written."""

    @classmethod
    def new(cls, action: Action, name: str, expected: str | None) -> "Order":
        """Return an order that nobody has given before."""
        return cls(order_id=secrets.token_hex(16), action=action, name=name, expected=expected)

    def encode(self) -> bytes:
        """Return the bytes of its file."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How it went; without a code it was done."""

    order_id: str
    code: str = ""
    message: str = ""

    def encode(self) -> bytes:
        """Return the bytes of its file."""
        return json.dumps(asdict(self)).encode()


def name_of(path: str | None, models_dir: Path) -> str:
    """Return how a value of the environment file is called in an order."""
    if path is None:
        return NO_MODEL
    stem = Path(path).stem
    if is_version(stem) and path == str(models_dir / f"{stem}.pth"):
        return stem
    return f"other-{hashlib.sha256(path.encode()).hexdigest()[:12]}"


def is_name(name: str) -> bool:
    """Return whether a target may be called so."""
    return _NAME.fullmatch(name) is not None


def is_version(name: str) -> bool:
    """Return whether this is the name of a model version."""
    return VERSION_PATTERN.fullmatch(name) is not None


def decode_order(data: bytes) -> Order:
    """Read an order that anybody may have written.

    Raises:
        PromotionError: SWITCH_ORDER for anything but exactly the fields of an order.
    """
    plain = _fields(data, {"order_id": str, "action": str, "name": str, "expected": str | None})
    try:
        action = Action(str(plain["action"]))
    except ValueError as exc:
        raise _bad_order("its action is none of ours") from exc
    order_id, name = str(plain["order_id"]), str(plain["name"])
    if not re.fullmatch(r"[0-9a-f]{32}", order_id):
        raise _bad_order("its id is not 32 hexadecimal digits")
    if not is_name(name):
        raise _bad_order("its target has no name of ours")
    return Order(order_id=order_id, action=action, name=name, expected=plain["expected"])


def decode_report(data: bytes) -> Report:
    """Read what the helper wrote.

    Raises:
        PromotionError: SWITCH_ORDER.
    """
    plain = _fields(data, {"order_id": str, "code": str, "message": str})
    return Report(order_id=str(plain["order_id"]), code=str(plain["code"]), message=str(plain["message"]))


def _fields(data: bytes, types: dict[str, object]) -> dict[str, str | None]:
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _bad_order("it is no JSON") from exc
    if not isinstance(plain, dict) or plain.keys() != types.keys():
        raise _bad_order(f"it does not have exactly the fields {', '.join(types)}")
    for field, kind in types.items():
        if not isinstance(plain[field], kind):  # type: ignore[arg-type]
            raise _bad_order(f"its field {field} is of another type")
    return plain


def _bad_order(why: str) -> PromotionError:
    return PromotionError("SWITCH_ORDER", f"the order cannot be read: {why}; nothing was done")
