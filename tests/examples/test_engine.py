"""The stand-in engine loads what the pipeline writes, says so, answers, and ends as a service should."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import torch

from clm.artefacts.golden import read_golden
from clm.artefacts.manifest import Artefact
from clm.bus.telemetry import read_telemetry
from clm.clock import HOUR, from_micros, iso
from clm.data.dataset import build_dataset
from clm.domain.line import DEFAULT_LINE
from clm.models.engine import EngineConfig, EngineNetwork
from tests.builders import data_policy
from tests.bus.conftest import RedisServer
from tests.data.candles.market import candles, series
from tests.serving.served import registered
from tests.serving.streaming import candle
from tests.serving.test_foreign_files import evil
from tests.training import jobs

ENGINE = Path(__file__).parents[2] / "examples" / "engine.py"


@contextlib.contextmanager
def running(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The engine and its address, once it listens."""
    command = [sys.executable, str(ENGINE), "--port", "0", *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ENGINE.parents[1]), **variables}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as engine:
        assert engine.stdout is not None
        address = ""
        lines = []
        for line in engine.stdout:
            lines.append(line.strip())
            if line.startswith("engine listens on "):
                address = line.split()[-1]
                break
        try:
            yield engine, "\n".join(lines) if not address else f"http://{address}"
        finally:
            engine.kill()


def get(url: str, body: object = None) -> tuple[int, dict[str, object]]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=5) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("models") / "patchtst_v20260301_120000.pth"
    torch.save({"model_state_dict": EngineNetwork(EngineConfig()).state_dict()}, path)
    return path


def test_it_predicts_what_the_trained_network_predicts(model_file: Path) -> None:
    """The two networks share no code, only names and shapes of tensors; loaded strictly they agree."""
    network = EngineNetwork(EngineConfig())
    network.load_state_dict(torch.load(model_file, weights_only=True)["model_state_dict"], strict=True)
    network.eval()
    torch.manual_seed(4)
    window = torch.randn(128, 8)
    with torch.no_grad():
        expected = float(torch.sigmoid(network(window[None]))[0])
    began = time.monotonic()
    with running(PATCHTST_MODEL_PATH=str(model_file)) as (_, url):
        assert time.monotonic() - began < 15  # 4 s on an idle machine
        assert get(f"{url}/health") == (200, {"status": "ok", "models_loaded": 1})
        status, answer = get(f"{url}/predict", {"window": window.tolist()})
        assert status == 200
        assert answer["p_win"] == pytest.approx(expected, abs=1e-6)
        assert get(f"{url}/predict", {"window": [[1.0] * 8] * 127})[0] == 400
        assert get(f"{url}/predict", {"window": [[1.0] * 7 + [float("nan")]] * 128})[0] == 400


def test_a_file_of_another_network_ends_it_unless_it_is_lenient(tmp_path: Path) -> None:
    """Lenient, as the existing engine, it serves random weights and stays active: that proves nothing."""
    path = tmp_path / "patchtst_v20260301_120000.pth"
    torch.save({"model_state_dict": {"something.else": torch.zeros(1)}}, path)
    with running(PATCHTST_MODEL_PATH=str(path)) as (engine, said):
        assert engine.wait(30) == 1
        assert said.startswith("PatchTST not loaded: patchtst_v20260301_120000.pth: RuntimeError")
    with running("--lenient", PATCHTST_MODEL_PATH=str(path)) as (_, url):
        assert get(f"{url}/health/ready")[0] == 200


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    """A model that quantum-clm registered."""
    return registered(tmp_path_factory.mktemp("registered"), jobs.dataset())


def serving(artefact: Artefact, *arguments: str, **variables: str):
    """The engine on a promoted copy of a registered model."""
    promoted = artefact.directory.parents[1] / "models" / f"{artefact.manifest.version}.pth"
    promoted.parent.mkdir(exist_ok=True)
    promoted.write_bytes(artefact.model_path.read_bytes())
    artefacts = str(artefact.directory.parent)
    return running(*arguments, PATCHTST_MODEL_PATH=str(promoted), ENGINE_ARTEFACTS_DIR=artefacts, **variables)


def test_a_registered_model_answers_its_golden_rows_rolls_and_reloads(artefact: Artefact) -> None:
    """One start for three questions: it takes seconds."""
    golden, table = read_golden(artefact.golden_path), jobs.table()
    other = registered(
        artefact.directory.parents[1], jobs.dataset(), seed=8, version="patchtst_v20260401_120000"
    )
    with serving(artefact) as (engine, url):
        for number in (0, 20, -1):
            status, answer = get(f"{url}/predict", {"window": golden.window_GLC[number].tolist()})
            assert status == 200
            assert answer["p_win"] == pytest.approx(golden.p_G[number], abs=1e-6)
            assert answer["version"] == artefact.manifest.version

        for row in range(128):
            features = dict(zip(table.feature_names, table.features_RC[row].tolist(), strict=True))
            at = iso(from_micros(table.decided_at_R[row]))
            request = {"symbol": "BTCUSDT", "timestamp": at, "features": features}
            status, answer = get(f"{url}/predict", request)
            assert status == 200
            assert answer.get("abstains") == ("too_little_history" if row < 127 else None)
        assert get(f"{url}/predict", {"symbol": "BTCUSDT", "timestamp": at, "features": {}})[0] == 400
        constant = get(f"{url}/predict", {"window": [golden.window_GLC[0][0].tolist()] * 128})[1]
        assert constant["abstains"] == "constant_input"

        assert get(f"{url}/reload", {"path": str(other.model_path)})[0] == 400  # lies elsewhere
        beside = artefact.directory.parents[1] / "models" / f"{other.manifest.version}.pth"
        beside.write_bytes(other.model_path.read_bytes()[:-1] + b"!")
        status, said = get(f"{url}/reload", {"path": str(beside)})
        assert status == 400
        assert "ARTEFACT_TORN" in str(said["error"])
        assert get(f"{url}/predict", request)[1]["version"] == artefact.manifest.version
        beside.write_bytes(other.model_path.read_bytes())
        assert get(f"{url}/reload", {"path": str(beside)}) == (200, {"version": other.manifest.version})
        assert get(f"{url}/predict", request)[1]["version"] == other.manifest.version
        assert engine.poll() is None


def test_f3_a_registered_file_that_changed_is_not_taken_for_a_strangers(artefact: Artefact) -> None:
    """A stranger's file is loaded without a hash; ours never is."""
    promoted = artefact.directory.parents[1] / "torn" / f"{artefact.manifest.version}.pth"
    promoted.parent.mkdir()
    content = bytearray(artefact.model_path.read_bytes())
    content[len(content) // 2] ^= 1
    promoted.write_bytes(content)
    artefacts = str(artefact.directory.parent)
    with running(PATCHTST_MODEL_PATH=str(promoted), ENGINE_ARTEFACTS_DIR=artefacts) as (engine, said):
        assert engine.wait(30) == 1
        assert "ARTEFACT_TORN" in said


def test_a_registered_model_of_candles_is_fed_candles(tmp_path: Path) -> None:
    """As an engine gets them from its exchange."""
    last = jobs.table().decided_at_R.max()
    hourly = [
        dataclasses.replace(series(700, symbol=symbol), opened_at_T=last - HOUR * np.arange(700, 0, -1))
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    policy = dataclasses.replace(
        data_policy(), window_source="candles", features=("candle_rsi", "candle_atr")
    )
    dataset = build_dataset(jobs.table(), policy, candles(*hourly))
    with serving(registered(tmp_path, dataset)) as (_, url):
        for number in range(480, 700):
            one = dataclasses.asdict(candle(hourly[0], number))
            told = {**one, "timestamp": iso(from_micros(one.pop("opened_at")))}
            del told["opened_at"]
            status, answer = get(f"{url}/predict", {"symbol": "BTCUSDT", "candle": told})
            assert status == 200
        assert answer["p_win"] is not None


@pytest.mark.needs_redis
def test_what_it_tells_in_shadow_is_what_the_shadow_gates_read(
    artefact: Artefact, server: RedisServer
) -> None:
    """The stand-in writes as the existing engine does; for confident ensembles alone."""
    golden = read_golden(artefact.golden_path)
    url_of_redis = f"unix://{server.socket}"
    with serving(artefact, ENGINE_REDIS_URL=url_of_redis, PATCHTST_SHADOW_ONLY="true") as (_, url):
        answers = []
        for number, side in enumerate(("BUY", "HOLD", "SELL", None)):
            window = golden.window_GLC[number].tolist()
            answers.append(get(f"{url}/predict", {"symbol": "BTCUSDT", "side": side, "window": window})[1])
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        told = read_telemetry(client, artefact.manifest.version, line=DEFAULT_LINE, serving_since=None)
        (_, fields), *_ = client.xrange("quantum:stream:trade.intent")
    assert told.left_out == {}
    assert [intent.ensemble for intent in told.intents] == [1, -1]
    assert [intent.confidence for intent in told.intents] == [
        answers[0]["confidence"],
        answers[2]["confidence"],
    ]
    payload = json.loads(fields[b"payload"])
    assert payload["model_breakdown"]["patchtst"]["shadow"] is True


def test_like_the_existing_engine_it_answers_with_one_number_whatever_it_is_asked(model_file: Path) -> None:
    """Every window is its last step 128 times, scaled to zero: no training repairs that."""
    random = np.random.default_rng(2)
    with running("--like-existing", PATCHTST_MODEL_PATH=str(model_file)) as (_, url):
        said = {
            get(f"{url}/predict", {"window": random.normal(size=(128, 8)).tolist()})[1]["p_win"]
            for _ in range(5)
        }
    network = EngineNetwork(EngineConfig())
    network.load_state_dict(torch.load(model_file, weights_only=True)["model_state_dict"], strict=True)
    with torch.inference_mode():
        of_zeros = float(torch.sigmoid(network.eval()(torch.zeros(1, 128, 8)))[0])
    assert len(said) == 1
    assert said.pop() == pytest.approx(of_zeros, abs=1e-6)


def test_l2_a_pickle_that_runs_something_is_not_run_even_like_the_existing_engine(tmp_path: Path) -> None:
    """The existing engine would run it; nothing of ours does."""
    path = tmp_path / "patchtst_v20260301_120000.pth"
    path.write_bytes(evil(tmp_path / "sprung"))
    with running("--like-existing", PATCHTST_MODEL_PATH=str(path)) as (engine, said):
        assert engine.wait(30) == 1
        assert "MODEL_UNREADABLE" in said
    assert not (tmp_path / "sprung").exists()


def test_a_named_file_that_is_not_there_ends_it_with_1() -> None:
    """A crash loop begins here."""
    with running("--no-model", PATCHTST_MODEL_PATH="/no/such.pth") as (engine, said):
        assert engine.wait(10) == 1
        assert said.startswith("PatchTST not loaded")


def test_where_no_file_is_named_it_serves_without_a_model() -> None:
    """An engine has other models; the first promotion finds it running."""
    with running() as (_, url):
        assert get(f"{url}/health") == (200, {"status": "ok", "models_loaded": 0})
        assert get(f"{url}/predict", {"window": []})[0] == 503


def test_without_the_variable_it_takes_the_newest_name(tmp_path: Path) -> None:
    """Which is why nothing but a promoted model may have such a name."""
    for name in (
        "patchtst_v20260101_000000.pth",
        "patchtst_v20260201_000000.pth",
        ".patchtst_v2027.pth.clm-1.tmp",
    ):
        (tmp_path / name).touch()
    command = [sys.executable, str(ENGINE), "--no-model", "--models-dir", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={}) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline() == "PatchTST loaded: patchtst_v20260201_000000.pth\n"
        engine.kill()


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """A stop is no failure."""
    model = tmp_path / "patchtst_v20260101_000000.pth"
    model.touch()
    with running("--no-model", PATCHTST_MODEL_PATH=str(model)) as (engine, url):
        assert get(f"{url}/health/live")[0] == 200
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(5) == 0
