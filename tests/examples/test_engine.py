"""The stand-in engine loads what the pipeline writes, says so, answers, and ends as a service should."""

import contextlib
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

import pytest
import torch

from clm.models.patchtst import PatchTST, PatchTSTConfig

ENGINE = Path(__file__).parents[2] / "examples" / "engine.py"


@contextlib.contextmanager
def running(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The engine and its address, once it listens."""
    command = [sys.executable, str(ENGINE), "--port", "0", *arguments]
    environment = {"PATH": os.environ["PATH"], **variables}
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
    torch.save({"model_state_dict": PatchTST(PatchTSTConfig()).state_dict()}, path)
    return path


def test_it_predicts_what_the_trained_network_predicts(model_file: Path) -> None:
    """The two networks share no code, only names and shapes of tensors; loaded strictly they agree."""
    network = PatchTST(PatchTSTConfig())
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
