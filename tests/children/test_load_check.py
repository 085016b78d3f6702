"""A fresh process proves a file, or the run says why there is no proof; no child is left."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.artefacts.files import sha256_of
from clm.artefacts.records import write_record
from clm.children.ask import SubprocessAsker
from clm.domain.load_check import GoldenRows, LoadCheck
from clm.errors import TrainingError
from clm.models.catalogue import architecture
from clm.questions.load_check import NAME, LoadCheckJob
from clm.questions.question import Files
from clm.serving.model import ServedModel
from clm.steps.candidate import ask_load_check
from tests.children.processes import script
from tests.training.test_export import Malicious

WINDOW_GLC = np.random.default_rng(5).normal(size=(64, 128, 8)).astype(np.float32)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    torch.manual_seed(11)
    path = tmp_path / "model.pth"
    torch.save({"model_state_dict": architecture("engine").build(0.0).state_dict()}, path)
    return path


def golden_of(path: Path) -> GoldenRows:
    return GoldenRows(window_GLC=WINDOW_GLC, p_G=ServedModel(path.read_bytes(), "engine").p_win(WINDOW_GLC))


def job(path: Path, **changes: object) -> LoadCheckJob:
    values: dict[str, object] = {
        "directory": path.parent / "proof",
        "weights_path": path,
        "sha256": sha256_of(path),
        "architecture": "engine",
        "context_length": 128,
        "n_features": 8,
        "timeout_s": 60.0,
    }
    return LoadCheckJob(**{**values, **changes})  # type: ignore[arg-type]


def asked_of(of: LoadCheckJob, golden: GoldenRows, python: Path | None = None) -> LoadCheck:
    asker = SubprocessAsker(python=python)
    return ask_load_check(asker, of, golden, threading.Event())


def prove(path: Path, golden: GoldenRows) -> LoadCheck:
    return asked_of(job(path), golden)


def test_f5_a_fresh_process_repeats_the_golden_answers_in_every_way(model_file: Path) -> None:
    """The engine's network is written out a second time: that it agrees says that ours did not drift."""
    proof = prove(model_file, golden_of(model_file))
    assert [route.name for route in proof.routes] == [
        "the engine",
        "the engine without the wrapper",
        "clm.serving",
    ]
    assert [proof.difference(route) <= 1e-6 for route in proof.routes] == [True] * 3
    assert proof.sha256 == sha256_of(model_file)
    assert proof.size_bytes == model_file.stat().st_size
    assert proof.weights_finite
    assert 0 < proof.p50_ms <= proof.p99_ms
    assert proof.predictions == 300
    assert not list((model_file.parent / "proof").glob("*.npz"))


def test_f5_what_the_existing_engine_does_not_load_is_proven_by_clm_serving_alone(tmp_path: Path) -> None:
    """A loader that is not used proves nothing, and checking it would fail every such model."""
    torch.manual_seed(11)
    path, window_GLC = tmp_path / "model.pth", WINDOW_GLC[:, :, :5]
    network = architecture("patchtst-mix").sized(5).build(0.0)
    torch.save({"model_state_dict": network.state_dict()}, path)
    answers = ServedModel(path.read_bytes(), "patchtst-mix", 5).p_win(window_GLC)
    golden = GoldenRows(window_GLC=window_GLC, p_G=answers)
    asked = job(path, architecture="patchtst-mix", n_features=5)
    proof = asked_of(asked, golden)
    (route,) = proof.routes
    assert route.name == "clm.serving"
    assert proof.difference(route) <= 1e-5
    assert proof.weights_finite
    assert proof.predictions == 300


def test_f5_a_file_that_is_no_such_network_is_an_answer_and_runs_nothing(model_file: Path) -> None:
    """Keys that lack, and code in a pickle: each way says why it cannot load, none runs what is in it."""
    golden, trap = golden_of(model_file), model_file.parent / "sprung"
    state = torch.load(model_file, weights_only=True)["model_state_dict"]
    torch.save({"model_state_dict": {**state, "extra": Malicious(trap)}}, model_file)
    proof = prove(model_file, golden)
    assert [route.p_G for route in proof.routes] == [None] * 3
    assert all(route.failed_because for route in proof.routes)
    assert not proof.weights_finite
    assert np.isnan(proof.p99_ms)
    assert not trap.exists()


def test_an_answer_about_another_file_is_no_proof(model_file: Path, tmp_path: Path) -> None:
    """The hash in the answer is of the bytes that were loaded."""
    golden = golden_of(model_file)
    kept = tmp_path / "kept"
    kept.mkdir()
    write_record(Files(directory=kept, name=NAME).answer, prove(model_file, golden))
    python = script(tmp_path, f"cp {kept}/* $5")
    other = job(model_file, sha256="b" * 64)
    with pytest.raises(TrainingError, match=r"RESULT_INVALID: .* is about sha256"):
        asked_of(other, golden, python)
