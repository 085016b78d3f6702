"""A small engine that serves the model, with the environment, journal and endpoints of the existing one.

It reads PATCHTST_MODEL_PATH once at start (or takes the newest `patchtst_v*.pth` in --models-dir), loads the
file, logs that on stdout, and listens on 127.0.0.1:

    GET  /health/live, /health/ready      {"status": "ok"}
    GET  /health                          {"status": "ok", "models_loaded": 1}
    POST /predict {"window": 128 x 8 raw numbers}                       {"p_win": 0.57, "action": "HOLD", ...}
                  (128 x n for a model with n > 8 features)
    POST /predict {"symbol", "timestamp", "features": {name: number}}   from the symbol's rolling window
    POST /predict {"symbol", "candle": {"timestamp", "open", ..., "volume"}}    likewise, from candles
    POST /reload  {"path": a file next to the served one}               {"version": ...}

A file that quantum-clm registered (its manifest is in ENGINE_ARTEFACTS_DIR) is served by `clm.serving`,
whatever its architecture. Its hash is checked, features are computed by the code of training, and the engine
abstains with a reason if it cannot predict. For a window, `p_win` is the network's output even then. Any
other file is loaded strictly, otherwise as in the existing engine, and accepts only windows. With
ENGINE_REDIS_URL, a request with a `side` (the decision of the rest of the ensemble) is published on
`quantum:stream:trade.intent`, with the flag of PATCHTST_SHADOW_ONLY.

--like-existing reproduces the faults of the existing engine: a file loads even if keys are missing, and
/predict repeats the last step of the window, so every window is constant and every answer the same.

Without a named or found file, it serves without a model. If a named file is missing or cannot be loaded, it
exits with 1. It stops cleanly on SIGTERM.
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTEXT_LENGTH, N_FEATURES = 128, 8
INTENT_STREAM = "quantum:stream:trade.intent"
ENVIRONMENT = os.environ  # noqa: TID251  a program of its own

Request = Mapping[str, Any]
Reply = dict[str, object]
Window = list[list[float]]


class Model:
    """What is served; the one without a file answers 0.5."""

    version = ""

    def predict(self, request: Request) -> Reply:
        """Answer to a request.

        Raises:
            ValueError, KeyError, TypeError: this model cannot answer the request.
        """
        _checked(request["window"])
        return {"p_win": 0.5, "action": "HOLD", "confidence": 0.5, "version": self.version}

    def reload(self, path: Path) -> str:
        """Serve another file from now on and return its version, or raise ValueError."""
        raise ValueError(f"this engine does not take {path} without a restart")


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
        model = Model() if options.no_model else _loaded(path, options)
    except Exception as error:  # noqa: BLE001  whatever a strange file does to the loader ends here, said in a line
        print(f"PatchTST not loaded: {path.name}: {type(error).__name__}: {error}", flush=True)
        return 1
    print(f"PatchTST loaded: {path.name}", flush=True)
    _serve(options.port, model)
    print("engine stopped", flush=True)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    port, artefacts = ENVIRONMENT.get("ENGINE_PORT", "8001"), ENVIRONMENT.get("ENGINE_ARTEFACTS_DIR")
    parser.add_argument("--port", type=int, default=int(port), help="0: any free one")
    parser.add_argument("--models-dir", type=Path, default=None, help="searched when no path is set")
    parser.add_argument("--artefacts-dir", type=Path, default=artefacts, help="where manifests lie")
    parser.add_argument("--no-model", action="store_true", help="only look whether the file is there")
    loading = parser.add_mutually_exclusive_group()
    loading.add_argument("--strict", dest="strict", action="store_true", default=True)
    loading.add_argument(
        "--lenient", dest="strict", action="store_false", help="as the existing engine: any key may lack"
    )
    loading.add_argument(
        "--like-existing", action="store_true", help="lenient, and every window is its last step repeated"
    )
    return parser.parse_args(arguments)


def _model_path(models_dir: Path | None) -> Path | None:
    named = ENVIRONMENT.get("PATCHTST_MODEL_PATH")
    if named:
        return Path(named)
    found = sorted(models_dir.glob("patchtst_v*.pth")) if models_dir else []
    return found[-1] if found else None


def _loaded(path: Path, options: argparse.Namespace) -> Model:
    import torch  # a start without a model needs none of it

    from clm.errors import ArtefactError

    torch.set_num_threads(1)
    if options.strict and not options.like_existing:
        try:
            return _ours(path, options.artefacts_dir)
        except ArtefactError as error:
            if error.code != "ARTEFACT_MISSING":
                raise  # ours, and not what was registered
    return _existing(path, options)


def _ours(path: Path, artefacts: Path | None) -> Model:
    from clm.serving.candle_book import Candle
    from clm.serving.predictor import ARTEFACTS, Answer, Predictor

    predictor = Predictor.load(path, artefacts=artefacts or ARTEFACTS)

    class Ours(Model):
        version = path.stem

        def predict(self, request: Request) -> Reply:
            if "window" in request:
                n_features = len(predictor.manifest.feature_names)
                window = _checked(request["window"], n_features, max(n_features, N_FEATURES))
                import numpy as np

                raw = np.array(window, dtype=np.float32)
                return {**_told(predictor.answer(raw)), "p_win": float(predictor.p_win(raw[None])[0])}
            return self._rolling(str(request["symbol"]), request)

        def reload(self, wanted: Path) -> str:
            if wanted.parent != path.parent:
                raise ValueError(f"{wanted} is not in the directory of {path}")
            predictor.reload(wanted)
            self.version = predictor.manifest.version
            return self.version

        def _rolling(self, symbol: str, request: Request) -> Reply:
            if "candle" in request:
                told = dict(request["candle"])
                opened = _moment(told.pop("timestamp"))
                micros = round(opened.timestamp() * 1_000_000)
                not_taken = predictor.add_candle(symbol, Candle(opened_at=micros, **told))
                inputs = predictor.manifest.inputs
                closed = micros + (inputs.interval if inputs else 0)
                now = datetime.fromtimestamp(closed / 1_000_000, UTC)
            else:
                now = _moment(request["timestamp"])
                not_taken = predictor.add_row(symbol, now, request["features"])
            if not_taken:
                raise ValueError(f"{symbol}: {not_taken}")
            return _told(predictor.predict(symbol, now, request.get("features")))

    def _told(answer: Answer) -> Reply:
        return {
            "p_win": answer.p_win,
            "action": answer.action,
            "confidence": answer.confidence,
            "version": answer.version,
            **({"abstains": answer.abstains, "reason": answer.reason} if answer.abstains else {}),
        }

    return Ours()


def _existing(path: Path, options: argparse.Namespace) -> Model:
    """The existing engine's network, but for its trust: nothing in the file is run."""
    import torch

    from clm.models.existing_engine import ExistingEngineNetwork
    from clm.models.served_file import read_state

    network = ExistingEngineNetwork()
    network.load_state_dict(
        read_state(path.read_bytes()), strict=options.strict and not options.like_existing
    )
    network.eval()

    class Existing(Model):
        version = path.stem

        def predict(self, request: Request) -> Reply:
            window = torch.tensor(_checked(request["window"]), dtype=torch.float32)
            if options.like_existing:
                window = window[-1].repeat(CONTEXT_LENGTH, 1)
                low, high = window.min(dim=0).values, window.max(dim=0).values
                # Scaled over the window: where nothing moves there is nothing left.
                window = (window - low) / torch.where(high > low, high - low, 1.0)
            with torch.inference_mode():
                p_win = float(torch.sigmoid(network(window[None])).item())
            action = "BUY" if p_win > 0.6 else "SELL" if p_win < 0.4 else "HOLD"
            confidence = {"BUY": p_win, "SELL": 1 - p_win, "HOLD": 0.5}[action]
            return {"p_win": p_win, "action": action, "confidence": confidence, "version": self.version}

    return Existing()


class Telemetry:
    """Publishes the model's answer next to the ensemble's decision; answers do not depend on Redis."""

    def __init__(self, url: str, shadow: bool) -> None:
        import redis

        self._redis = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._shadow = shadow

    def publish(self, request: Request, reply: Reply) -> None:
        """Publish for confident ensembles alone: a HOLD is no intent to trade, an abstention no answer."""
        side = request.get("side")
        if side not in {"BUY", "SELL"} or "symbol" not in request or "abstains" in reply:
            return
        now = datetime.now(UTC).isoformat()  # noqa: TID251  a program of its own
        answer = {"action": reply["action"], "confidence": reply["confidence"], "model": reply["version"]}
        payload = {
            "symbol": request["symbol"],
            "side": side,
            "timestamp": request.get("timestamp", now),
            "model_breakdown": {"patchtst": {**answer, "shadow": self._shadow}},
        }
        trace = str(uuid.uuid4())
        fields = {
            "event_type": "trade.intent",
            "payload": json.dumps(payload),
            "trace_id": trace,
            "correlation_id": trace,
            "timestamp": now,
            "source": "ai-engine",
        }
        try:
            self._redis.xadd(INTENT_STREAM, fields, maxlen=10_000, approximate=True)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001  telemetry is not what the engine is for
            print(f"telemetry not published: {error}", flush=True)


def _telemetry() -> Callable[[Request, Reply], None]:
    url = ENVIRONMENT.get("ENGINE_REDIS_URL")
    if not url:
        return lambda _request, _reply: None
    return Telemetry(url, ENVIRONMENT.get("PATCHTST_SHADOW_ONLY", "").lower() == "true").publish


def _serve(port: int, model: Model | None) -> None:
    publish = _telemetry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in {"/health/live", "/health/ready"}:
                self._answer(200, {"status": "ok"})
            elif self.path == "/health":
                self._answer(200, {"status": "ok", "models_loaded": int(model is not None)})
            else:
                self._answer(404, {"error": "no such path"})

        def do_POST(self) -> None:
            if self.path not in {"/predict", "/reload"}:
                self._answer(404, {"error": "no such path"})
            elif model is None:
                self._answer(503, {"error": "no model is loaded"})
            else:
                self._ask(model)

        def _ask(self, model: Model) -> None:
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
                if self.path == "/reload":
                    self._answer(200, {"version": model.reload(Path(body["path"]))})
                    return
                reply = model.predict(body)
            except Exception as error:  # noqa: BLE001  a request that cannot be answered ends no engine
                self._answer(400, {"error": f"{type(error).__name__}: {error}"})
                return
            publish(body, reply)
            self._answer(200, reply)

        def _answer(self, status: int, content: Reply) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing: the journal is for models, not for requests."""

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        # shutdown() waits for the loop it ends, so it must not run in the loop's own thread.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        print(f"engine listens on 127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever(poll_interval=0.05)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _checked(window: Window, fewest: int = N_FEATURES, most: int = N_FEATURES) -> Window:
    if len(window) != CONTEXT_LENGTH or not all(fewest <= len(step) <= most for step in window):
        raise ValueError(f"a window has {CONTEXT_LENGTH} x {fewest} numbers, at most {most} a step")
    if not all(math.isfinite(value) for step in window for value in step):
        raise ValueError("a window holds finite numbers")
    return window


if __name__ == "__main__":
    sys.exit(main())
