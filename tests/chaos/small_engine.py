"""An engine that starts in milliseconds; the model file's first word says whether it serves or dies.

Run with `python -I -S`: it imports next to nothing.
"""

import os
import socket
import sys

with open(os.environ["PATCHTST_MODEL_PATH"], "rb") as handle:  # noqa: PTH123  pathlib would cost half the start
    word = handle.read(6).split(b" ")[0]
if word != b"good":
    sys.exit(1)

body = b'{"status": "healthy", "models_loaded": 1}'
answer = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
with socket.socket() as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(os.environ["ENGINE_PORT"])))
    server.listen(64)
    while True:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            try:
                connection.recv(4096)
                connection.sendall(answer)
            except OSError:  # a client that was killed, or one that only knocks
                continue
