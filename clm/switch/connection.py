"""One connection of the helper's socket: peer user, request and reply."""

import os
import socket
import struct
import sys
import time
from pathlib import Path

from clm.domain.line import DEFAULT_LINE
from clm.engine.switch_request import MAX_BYTES, Answer, decode_request
from clm.errors import ClmError, PromotionError
from clm.switch.helper import Helper
from clm.switch.site import site_of
from clm.switch.unit import SystemdUnit

_OWN_DIR = "/var/lib/quantum-clm-switch"
_READ_S = 5.0
_CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""


def answer_once() -> int:
    """Serve the request on standard input, log one line, and return the exit code."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as connection:
        what = "request"
        try:
            line = read_line(connection)  # first: closing with unread input would discard the reply
            uid = asking_user(connection)
            request = decode_request(line, DEFAULT_LINE)
            what = f"{request.action} {request.name}"
            answer = _helper(uid).serve(request)
        except ClmError as error:
            answer = Answer(code=error.code, message=error.message)
        _send(connection, answer)
    sys.stderr.write(f"{what}: {answer.code or 'done'} {answer.message}\n")
    return 74 if answer.code else 0


def asking_user(connection: socket.socket) -> int:
    """Return the peer user: root, or the owner of the socket file.

    Raises:
        PromotionError: SWITCH_REFUSED for other users.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    if uid not in {0, Path(connection.getsockname()).lstat().st_uid}:
        raise PromotionError("SWITCH_REFUSED", f"user {uid} is not allowed; nothing was done")
    return int(uid)


def read_line(connection: socket.socket, *, within_s: float = _READ_S) -> bytes:
    """Return the bytes of one line.

    Raises:
        PromotionError: SWITCH_REQUEST if it is too long or times out.
    """
    data, deadline = b"", time.monotonic() + within_s
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            chunk = connection.recv(MAX_BYTES + 1 - len(data))
        except OSError as exc:
            raise PromotionError(
                "SWITCH_REQUEST", f"no complete line was received within {within_s:g} s"
            ) from exc
        data += chunk
        if len(data) > MAX_BYTES:
            raise PromotionError("SWITCH_REQUEST", f"the line has more than {MAX_BYTES} bytes")
        if not chunk:
            break
    return data


def _helper(uid: int) -> Helper:
    environment = os.environ  # noqa: TID251  a separate program: clm.settings needs packages
    site = site_of(environment, Path(environment.get("STATE_DIRECTORY", _OWN_DIR)))
    return Helper(site=site, unit=SystemdUnit(site.engine_unit), uid=uid)


def _send(connection: socket.socket, answer: Answer) -> None:
    connection.settimeout(_READ_S)
    try:
        connection.sendall(answer.encode())
    except OSError as exc:
        sys.stderr.write(f"the reply was not delivered: {exc.strerror or exc}\n")
