"""A stand-in for the engine that serves the model: the same environment, network and endpoints, nothing more.

It reads PATCHTST_MODEL_PATH once at its start (else the newest name `patchtst_v*.pth` in --models-dir), loads
the file into the served architecture, says so on stdout, and answers on 127.0.0.1:

    GET  /health/live, /health/ready      {"status": "ok"}
    GET  /health                          {"status": "ok", "models_loaded": 1}
    POST /predict {"window": 128 x 8 numbers}    {"p_win": 0.57}

Where no file is named and none is found it serves without a model; a named file that does not exist or cannot
be loaded ends it with 1; SIGTERM ends it in order.
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTEXT_LENGTH, N_FEATURES, PATCH_LENGTH, D_MODEL = 128, 8, 16, 128

Window = list[list[float]]
Predict = Callable[[Window], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model, serve until SIGTERM, return the exit code."""
    options = _options(arguments)
    path = _model_path(options.models_dir)
    if path is None:
        print("PatchTST not loaded: PATCHTST_MODEL_PATH is not set and no model was found", flush=True)
        _serve(options.port, None)
        return 0
    if not path.is_file():
        print(f"PatchTST not loaded: {path} is no file", flush=True)
        return 1
    try:
        predict = _without_model if options.no_model else _loaded(path, strict=options.strict)
    except Exception as error:  # noqa: BLE001  whatever a strange file does to the loader ends here, said in a line
        print(f"PatchTST not loaded: {path.name}: {type(error).__name__}: {error}", flush=True)
        return 1
    print(f"PatchTST loaded: {path.name}", flush=True)
    _serve(options.port, predict)
    print("engine stopped", flush=True)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    port = os.environ.get("ENGINE_PORT", "8001")  # noqa: TID251  a program of its own
    parser.add_argument("--port", type=int, default=int(port), help="0: any free one")
    parser.add_argument("--models-dir", type=Path, default=None, help="searched when no path is set")
    parser.add_argument("--no-model", action="store_true", help="only look whether the file is there")
    loading = parser.add_mutually_exclusive_group()
    loading.add_argument("--strict", dest="strict", action="store_true", default=True)
    loading.add_argument(
        "--lenient", dest="strict", action="store_false", help="as the existing engine: any key may lack"
    )
    return parser.parse_args(arguments)


def _model_path(models_dir: Path | None) -> Path | None:
    named = os.environ.get("PATCHTST_MODEL_PATH")  # noqa: TID251  a program of its own
    if named:
        return Path(named)
    found = sorted(models_dir.glob("patchtst_v*.pth")) if models_dir else []
    return found[-1] if found else None


def _loaded(path: Path, *, strict: bool) -> Predict:
    """Return the function for P(WIN) of one window; the network is written out, sharing no code with ours."""
    import torch  # a start without a model needs none of it
    from torch import nn

    class PatchTST(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch_embedding = nn.Linear(PATCH_LENGTH * N_FEATURES, D_MODEL)
            self.pos_encoding = nn.Parameter(torch.zeros(1, CONTEXT_LENGTH // PATCH_LENGTH, D_MODEL))
            layer = nn.TransformerEncoderLayer(
                d_model=D_MODEL, nhead=4, dim_feedforward=512, batch_first=True
            )
            self.transformer = nn.TransformerEncoder(layer, num_layers=3, enable_nested_tensor=False)
            self.output_proj = nn.Linear(D_MODEL, 1)

        def forward(self, window: torch.Tensor) -> torch.Tensor:
            patches = window.reshape(
                window.shape[0], CONTEXT_LENGTH // PATCH_LENGTH, PATCH_LENGTH * N_FEATURES
            )
            hidden = self.transformer(self.patch_embedding(patches) + self.pos_encoding)
            return self.output_proj(hidden.mean(dim=1))

    torch.set_num_threads(1)
    saved = torch.load(path, map_location="cpu", weights_only=True)
    network = PatchTST()
    network.load_state_dict(saved.get("model_state_dict", saved), strict=strict)
    network.eval()

    def predict(window: Window) -> float:
        with torch.no_grad():
            return float(torch.sigmoid(network(torch.tensor([window], dtype=torch.float32))).item())

    return predict


def _without_model(_window: Window) -> float:
    return 0.5


def _serve(port: int, predict: Predict | None) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in {"/health/live", "/health/ready"}:
                self._answer(200, {"status": "ok"})
            elif self.path == "/health":
                self._answer(200, {"status": "ok", "models_loaded": int(predict is not None)})
            else:
                self._answer(404, {"error": "no such path"})

        def do_POST(self) -> None:
            if self.path != "/predict":
                self._answer(404, {"error": "no such path"})
                return
            if predict is None:
                self._answer(503, {"error": "no model is loaded"})
                return
            try:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                window = _checked(json.loads(body)["window"])
            except (ValueError, KeyError, TypeError) as error:
                self._answer(400, {"error": f"window: {CONTEXT_LENGTH} x {N_FEATURES} numbers ({error})"})
                return
            self._answer(200, {"p_win": predict(window)})

        def _answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: the journal tells of models, not of requests."""

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        # shutdown() waits for the loop it ends, so it must not run in the loop's own thread.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        print(f"engine listens on 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever(poll_interval=0.05)


def _checked(window: Window) -> Window:
    if len(window) != CONTEXT_LENGTH or any(len(step) != N_FEATURES for step in window):
        raise ValueError("wrong shape")
    if not all(math.isfinite(value) for step in window for value in step):
        raise ValueError("not finite")
    return window


if __name__ == "__main__":
    sys.exit(main())
