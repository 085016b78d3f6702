"""A stand-in for the engine that behaves as the first word of its model file says, without any package.

good        serves                              crash    ends at once, as often as it is started
late        serves, and ends after 0.7 s        deaf     lives, and never listens
stubborn    says that it loaded another file    constant answers every window with one number
troubled    answers 503, for a dependency
"""

# ruff: noqa: T201  a program of its own

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PATH = Path(os.environ.get("PATCHTST_MODEL_PATH", "/nonexistent"))
WORD = PATH.read_text().split()[0] if PATH.is_file() else "crash"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        down = WORD == "troubled" or Path("/run/dependency-down").exists()
        self._answer(503 if down else 200, {"status": "degraded" if down else "ok", "models_loaded": 1})

    def do_POST(self) -> None:
        window = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["window"]
        first = float(window[0][0])
        self._answer(200, {"p_win": 0.6150280237197876 if WORD == "constant" else 1 / (1 + 2**-first)})

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


if WORD == "crash":
    sys.exit(1)
if WORD == "deaf":
    time.sleep(3600)
if WORD == "late":
    threading.Timer(0.7, lambda: os._exit(1)).start()
server = ThreadingHTTPServer(("127.0.0.1", 8001), Handler)
print(f"PatchTST loaded: {'another.pth' if WORD == 'stubborn' else PATH.name}", flush=True)
server.serve_forever(poll_interval=0.05)
