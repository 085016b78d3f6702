"""A bad network between a client and a real redis-server."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Proxy:
    """Forwards between Unix sockets and alters the replies as configured."""

    def __init__(self, path: Path, server: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.slice_bytes = 65536
        self.delay_s = 0.0
        self.cut_after: int | None = None
        """Bytes of reply after which the connection is closed, once."""
        self.rewritten: dict[bytes, bytes] = {}
        """Parts of replies and their replacements, of equal length because replies contain their length."""
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End every connection and thread."""
        _end(*self._sockets)
        for thread in self._threads:
            thread.join(10)
        for one in self._sockets:
            one.close()

    def _start(self, target: Callable[..., None], *ends: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=ends, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.socket(socket.AF_UNIX)
            self._sockets += [ours, theirs]
            theirs.connect(str(self._server))
            self._start(self._forward, ours, theirs)
            self._start(self._reply, theirs, ours)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            _end(source, target)

    def _reply(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                for piece, other in self.rewritten.items():
                    data = data.replace(piece, other)
                if self.cut_after is not None:
                    cut, self.cut_after = data[: self.cut_after], None
                    target.sendall(cut)
                    return
                for start in range(0, len(data), self.slice_bytes):
                    target.sendall(data[start : start + self.slice_bytes])
        except OSError:
            pass
        finally:
            _end(source, target)


def _end(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
