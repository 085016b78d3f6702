"""Two models on the same rows: versions and checkpoints of the old kind, scored in a child, read as data."""

import json
import math
import os
import pickle
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.artefacts.files import sha256_of
from clm.artefacts.registry import DirectoryRegistry
from clm.data.simulator import simulate
from clm.domain.job import ChampionRef
from clm.errors import ArtefactError, TrainingError, UsageError
from clm.models.catalogue import architecture
from clm.questions.score import ScoreInputs, Scores, score_question
from clm.report.side_by_side import lines
from clm.settings import load_settings
from clm.store.create import create_store, insert_samples
from clm.training.score import score
from clm.verbs.compare import compare_models
from tests.builders import NOW
from tests.cli.test_verbs import clm
from tests.evaluation.builders import comparison, market
from tests.promotion.server import NEW, manifest
from tests.training import jobs


class Files:
    """Checkpoints as they lie about on the server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(1)
        self.weights = architecture("engine").build(0.0).state_dict()
        self.bare = self.save("bare.pth", self.weights)
        old = {"model_state_dict": self.weights, "epoch": 30, "val_acc": 0.6}
        self.wrapped = self.save("wrapped.pth", old)
        other = architecture("engine").build(0.0).state_dict()
        self.other = self.save("other.pth", {"model_state_dict": other})

    def save(self, name: str, document: object) -> Path:
        torch.save(document, self.root / name)
        return self.root / name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


def scored(directory: Path, *paths: Path, feature_names: tuple[str, ...] = ()) -> Scores:
    """Score files as the child does, in this process."""
    dataset = jobs.dataset()
    models = [
        ChampionRef(
            version=path.stem,
            path=path,
            sha256=sha256_of(path),
            feature_names=feature_names,
        )
        for path in paths
    ]
    question = score_question(jobs.job(directory, of=dataset), models, dataset)
    assert isinstance(question.inputs, ScoreInputs)
    return question.check(score(question.inputs))


def test_a_bare_and_a_wrapped_checkpoint_of_the_same_weights_answer_alike(files, tmp_path):
    """Both kinds were written by the old scripts; neither says on what it was trained."""
    bare, wrapped, other = scored(tmp_path, files.bare, files.wrapped, files.other).p_models
    np.testing.assert_array_equal(bare, wrapped)
    assert not np.array_equal(bare, other)


class Evil:
    """What a stranger's pickle does when it is loaded as code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"touch {self.path}",)


def test_l3_a_checkpoint_that_is_code_is_not_run(files, tmp_path):
    """Old checkpoints come from anywhere; they are read as data or not at all."""
    mark, file = tmp_path / "was_here", tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps(Evil(mark), protocol=2))
    with pytest.raises(TrainingError, match="evil cannot be loaded"):
        scored(tmp_path / "job", files.bare, file)
    assert not mark.exists()


def test_another_network_is_named_as_such(files, tmp_path):
    """A missing key would be a random weight in the engine."""
    short = {name: tensor for name, tensor in files.weights.items() if not name.startswith("output_proj")}
    with pytest.raises(TrainingError, match=r"NOT_SCORED: .*output_proj"):
        scored(tmp_path, files.save("short.pth", short))


def test_models_of_other_features_cannot_be_compared(files, tmp_path):
    """The same columns under other names are other columns."""
    with pytest.raises(TrainingError, match="was trained on a, b, the data has"):
        scored(tmp_path, files.bare, feature_names=("a", "b"))


def test_scores_that_are_not_as_many_as_asked_for_are_refused(tmp_path):
    """numpy would stretch or cut in silence."""
    dataset = jobs.dataset()
    n = len(dataset.split.test)
    model = ChampionRef(version="x", path=tmp_path, sha256="")
    check = score_question(jobs.job(tmp_path, of=dataset), [model], dataset).check
    zeros = np.zeros(len(dataset.split.validation))
    sound = Scores(
        p_models=(np.zeros(n),),
        p_logistic_N=np.zeros(n),
        p_trees_N=np.zeros(n),
        validation_by_plain={"logistic": zeros, "trees": zeros},
    )
    assert check(sound) is sound
    for p_models in ((), (np.zeros(n), np.zeros(n)), (np.zeros(n + 1),), (np.full(n, 2.0),)):
        with pytest.raises(ValueError, match="scores"):
            check(replace(sound, p_models=p_models))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a small market."""
    path = tmp_path / "store.db"
    create_store(path)
    insert_samples(path, (s.as_row() for s in simulate(seed=3, n_samples=1500, until=NOW, n_symbols=2)))
    return path


def test_a_version_and_a_checkpoint_stand_side_by_side(files, tmp_path, store):
    """Every figure under its own name, from a child process; the store gets no table of ours."""
    serving = "patchtst_v20250101_000000"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{serving}.pth").write_bytes(files.other.read_bytes())
    arguments = ["compare", serving, str(files.bare), "--json", "--store", str(store)]
    done = clm(tmp_path, *arguments, CLM_MODELS_DIR=str(tmp_path / "models"))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    first, second = shown["models"]
    assert (first["name"], second["name"]) == (serving, str(files.bare))
    assert first["n"] == second["n"] == shown["rows"] > 0
    assert shown["log_loss_difference"]["value"] == pytest.approx(second["log_loss"] - first["log_loss"])
    wanted = {"auroc_interval", "action_shares", "confidence", "ece", "slices", "trading"}
    assert wanted <= first.keys() & second.keys()
    assert [row["name"] for row in shown["gates"]][:2] == ["action_diversity", "confidence_spread"]
    with sqlite3.connect(store) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'clm_%'").fetchall()
    connection.close()
    assert tables == []


def test_the_table_shows_both_and_what_separates_them():
    """Actions, confidence, skill, calibration, profit; the difference with its interval."""
    rows, good = market(hours=200)
    first = comparison(rows, 1 - good, p_champion_N=good)
    second = comparison(rows, good, p_champion_N=1 - good)
    shown = list(lines(("old", "new"), first, second))
    for heading in ("actions", "confidence, P(WIN)", "skill", "calibration", "profit after costs"):
        assert heading in shown
    (auroc,) = [line.split() for line in shown if line.startswith("  auroc")]
    assert auroc[1:] == [f"{first.candidate.auroc:.4f}", f"{second.candidate.auroc:.4f}"]
    loss = second.log_loss_minus_champion
    assert f"  log loss {loss.value:+.5f}, 95% {loss.low:+.5f} to {loss.high:+.5f}" in shown
    unknown = comparison(rows, np.full(len(rows), math.nan), p_champion_N=good)
    assert any(line.endswith("–") for line in lines(("old", "new"), first, unknown))


@pytest.mark.parametrize("name", ["patchtst_v20000101_000000", "/nowhere.pth", "nothing"])
def test_an_unknown_model_is_a_usage_error(files, tmp_path, name):
    """Before anything is read or started."""
    settings = load_settings(None, {"state_dir": tmp_path, "models_dir": tmp_path})
    with pytest.raises(UsageError, match="MODEL_UNKNOWN"):
        compare_models(settings, str(files.bare), name, stop=threading.Event())


def test_a_registered_model_that_was_touched_is_not_scored(files, tmp_path):
    """Its hash is in its manifest."""
    settings = load_settings(None, {"state_dir": tmp_path})
    content = files.bare.read_bytes()
    DirectoryRegistry(settings.artefacts_dir).register(files.bare, replace(manifest(content), version=NEW))
    (settings.artefacts_dir / NEW / "model.pth").write_bytes(b"torn")
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        compare_models(settings, NEW, str(files.bare), stop=threading.Event())
