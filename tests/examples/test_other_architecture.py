"""Another architecture the whole way: trained, judged, promoted, served, champion of the next training."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clm.artefacts.golden import read_golden
from clm.artefacts.registry import DirectoryRegistry
from clm.engine.env_file import parse
from clm.serving.predictor import Predictor
from tests.examples.test_engine import get

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]
MIX = {"CLM_ARCHITECTURE": "patchtst-mix", "CLM_ENGINE__LOADS": "serving"}


def clm(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line below a root of its own, with no Redis in reach."""
    return subprocess.run(
        [sys.executable, "-m", "clm", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT),
            "CLM_ROOT": str(root),
            "CLM_REDIS_URL": f"unix://{root}/no-redis.sock",
            "CLM_TRAINING__EPOCHS": "4",
            "CLM_TUNING__TRIALS": "0",
            "CLM_DIAGNOSIS__BUDGET_S": "0",
            "CLM_DATA__FLOOR": "off",
            "CLM_EVALUATION__REPLICATES": "200",
            **environment,
        },
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A server on which the demonstration was run with another architecture."""
    root = tmp_path_factory.mktemp("place")
    told = None
    try:
        told = answer(clm(root, "demo", "--root", str(root), "--json", **MIX))
        yield root, told
    finally:
        if told:
            os.kill(told["engine"]["pid"], signal.SIGTERM)


def test_it_is_judged_and_promoted_like_any_other(place):
    """Gate 9 goes the one way there is, and the engine loads it by its manifest."""
    root, told = place
    assert told["decision"] == "PROMOTE", told["reasons"]
    parity = {gate["name"]: gate for gate in told["gates"]}["parity"]
    assert parity["status"] == "PASS"
    assert "clm.serving" in parity["reason"]
    assert "the engine" not in parity["reason"]
    assert told["promotion"]["state"] == "COMMITTED"
    assert told["engine"]["model_path"].endswith(f"{told['version']}.pth")
    assert answer(clm(root, "verify-run", told["run_id"], "--json"))["agrees"] is True
    with closing(sqlite3.connect(root / "opt/quantum/data/quantum_trader.db")) as connection:
        kinds = connection.execute("SELECT model_type FROM ai_model_versions").fetchall()
    assert kinds == [("patchtst-mix",)]


def test_the_engine_and_the_predictor_repeat_its_golden_rows(place):
    """What was judged is what answers, over HTTP as in the process of an engine."""
    root, told = place
    artefacts = root / "var/lib/quantum-clm/artefacts"
    artefact = DirectoryRegistry(artefacts).get(told["version"])
    golden = read_golden(artefact.golden_path)
    predictor = Predictor.load(told["engine"]["model_path"], artefacts=artefacts)
    np.testing.assert_allclose(predictor.p_win(golden.window_GLC), golden.p_G, rtol=0, atol=1e-5)
    config = parse((root / "etc/quantum/clm.env").read_bytes())
    url = config["CLM_ENGINE_HEALTH_URL"].removesuffix("/health/live")
    for number in (0, 31, 63):
        status, reply = get(f"{url}/predict", {"window": golden.window_GLC[number].tolist()})
        assert status == 200
        assert reply["version"] == told["version"]
        assert reply["p_win"] == pytest.approx(golden.p_G[number], abs=1e-5)


def test_it_is_the_champion_that_another_architecture_is_held_against(place):
    """Each answers the same rows by its own network; the record and the comparison agree."""
    root, told = place
    engine = {"CLM_ARCHITECTURE": "engine", "CLM_ENGINE__LOADS": "serving", "CLM_TRAINING__EPOCHS": "1"}
    after = answer(clm(root, "run", "--no-promote", "--json", **engine))
    champion = after["metrics"]["champion"]["log_loss"]
    assert champion == pytest.approx(told["metrics"]["candidate"]["log_loss"], abs=1e-6)
    assert {gate["name"]: gate["status"] for gate in after["gates"]}["beats_champion"] != "DEFER"
    beside = answer(clm(root, "compare", told["version"], after["version"], "--json", **engine))
    found = [model["log_loss"] for model in beside["models"]]
    assert found == pytest.approx([champion, after["metrics"]["candidate"]["log_loss"]], abs=1e-6)
