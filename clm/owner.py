"""Drop root privileges before the command line loads any package.

SQLite creates its journal as the first writing user, and a daemon that cannot write it is stuck. Only the
standard library and a few modules of clm are loaded before; in an installed service, root owns them.
"""

import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import parse
from clm.engine.switch_helper import ask
from clm.engine.switch_request import MAX_BYTES, Action, Answer, decode_request
from clm.errors import PromotionError
from clm.switch.paths import opened_directory

CONFIG_FILE = Path("/etc/quantum/clm.env")
_DEFAULTS = {
    "CLM_STATE_DIR": "/var/lib/quantum-clm",
    "CLM_STORE": "/opt/quantum/data/quantum_trader.db",
}
_KEEPS_ROOT = {"demo", "example-config"}
"""Commands that do not touch an installed service."""

_connection: list[socket.socket] = []


def give_up_root(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """As root, become the owner of the state directory permanently; return a line that reports it.

    `activate` keeps a root process that forwards one request: the switch's helper lets only root disable
    shadow mode.
    """
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if os.geteuid() != 0 or verb in _KEEPS_ROOT:
        return None
    place = owned_place(arguments, environment)
    status = _status(place) if place is not None else None
    if status is None or status.st_uid == 0:
        return None
    if verb == "activate":
        _connection.append(_start_relay())
    name = _become(status.st_uid, status.st_gid)
    return f"working as {name}, who owns {place}"


def root_connection() -> socket.socket | None:
    """Return the connection to the root process, or None; it serves one request."""
    return _connection.pop() if _connection else None


def owned_place(arguments: Sequence[str], environment: Mapping[str, str]) -> Path | None:
    """Return the state directory or, before it exists, the store; None if neither exists."""
    root = environment.get("CLM_ROOT")
    config = _below(root, CONFIG_FILE)
    try:
        settings = parse(config.read_bytes())
    except (OSError, PromotionError):
        settings = {}
    values = {
        **{name: str(_below(root, Path(default))) for name, default in _DEFAULTS.items()},
        **{name: settings[name] for name in _DEFAULTS if settings.get(name)},
        **{name: environment[name] for name in _DEFAULTS if environment.get(name)},
    }
    places = (Path(values["CLM_STATE_DIR"]), Path(_option(arguments, "--store") or values["CLM_STORE"]))
    return next((place for place in places if place.exists()), None)


def _status(place: Path) -> os.stat_result:
    """Return the status of the place, without following links that other users can change.

    Raises:
        PromotionError: SWITCH_REFUSED.
    """
    directory = place if place.is_dir() else place.parent
    with opened_directory(directory.absolute()) as handle:
        return os.fstat(handle) if directory == place else os.stat(place.name, dir_fd=handle)


def _start_relay() -> socket.socket:
    """Fork a process that stays root and forwards one GO_LIVE request; it exits with its peer."""
    ours, relay = socket.socketpair()
    if os.fork():
        relay.close()
        return ours
    ours.close()
    try:
        if line := relay.recv(MAX_BYTES):
            relay.sendall(_pass_on(line).encode())
    finally:
        os._exit(0)


def _pass_on(data: bytes) -> Answer:
    try:
        request = decode_request(data, DEFAULT_LINE)
        if request.action is not Action.GO_LIVE:
            return Answer(code="SWITCH_REFUSED", message=f"root forwards go_live, not {request.action}")
        return ask(request)
    except PromotionError as error:
        return Answer(code=error.code, message=error.message)


def _become(uid: int, gid: int) -> str:
    try:
        person = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([gid])
        name = str(uid)
    else:
        os.initgroups(person.pw_name, person.pw_gid)
        name, gid = person.pw_name, person.pw_gid
    os.setgid(gid)
    os.setuid(uid)
    return name


def _below(root: str | None, path: Path) -> Path:
    return Path(root) / path.relative_to("/") if root else path


def _option(arguments: Sequence[str], name: str) -> str | None:
    for word, following in zip(arguments, (*arguments[1:], ""), strict=False):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
