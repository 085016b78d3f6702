"""The champion is scored as the engine would, or said to be absent and why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.artefacts.files import sha256_of
from clm.domain.job import ChampionRef
from clm.models.catalogue import architecture
from clm.serving.model import ServedModel
from clm.training.champion import ChampionScores, score_champion
from tests.training import jobs
from tests.training.conftest import Trained


@pytest.fixture
def champion(trained: Trained) -> ChampionRef:
    """The shared training's own file, as if it were serving."""
    return ChampionRef(
        version="patchtst_v20260101_000000",
        path=trained.result.weights_path,
        sha256=trained.result.file_sha256,
        feature_names=trained.job.feature_names,
    )


def served(path: Path, name: str, *, n_features: int) -> Path:
    """A file of freshly drawn weights."""
    torch.manual_seed(5)
    torch.save({"model_state_dict": architecture(name).sized(n_features).build(0.0).state_dict()}, path)
    return path


def score(trained: Trained, champion: ChampionRef | None) -> ChampionScores:
    return score_champion(
        champion,
        trained.job.feature_names,
        trained.arrays,
        context_length=128,
    )


def test_a_champion_that_is_the_candidate_answers_exactly_alike(
    trained: Trained, champion: ChampionRef
) -> None:
    """Gate 6 needs a difference of exactly 0 for the same model."""
    scores = score(trained, champion)
    assert scores.p_N is not None
    np.testing.assert_array_equal(scores.p_N, trained.result.p_candidate_N)
    assert scores.absent_because == ""


def test_an_adopted_champion_of_unknown_features_is_scored(trained: Trained, champion: ChampionRef) -> None:
    """It was served on whatever the engine fed it; we can only do the same."""
    assert score(trained, replace(champion, feature_names=(), adopted=True)).p_N is not None


def test_without_a_champion_the_reason_is_given(trained: Trained) -> None:
    """The first model has no champion to beat, and the verdict says so."""
    assert score(trained, None).absent_because == "the engine's environment file names no model"


def test_a_champion_on_other_features_is_not_scored(trained: Trained, champion: ChampionRef) -> None:
    """Fed rsi where it expects returns it would lose for the wrong reason."""
    scores = score(trained, replace(champion, feature_names=("rsi", "spread")))
    assert scores.p_N is None
    assert "was trained on rsi, spread" in scores.absent_because


def test_a_champion_of_some_of_the_features_reads_its_own_by_name(tmp_path: Path) -> None:
    """A candidate on more features is still held against the one that serves, on the same rows."""
    whole = jobs.dataset(n_features=8)
    arrays = jobs.arrays(whole, tmp_path / "job")
    columns = (3, 0, 6)
    own = tuple(whole.feature_names[column] for column in columns)
    for name in ("engine", "patchtst-mix"):
        path = served(tmp_path / f"{name}.pth", name, n_features=len(own))
        champion = ChampionRef(
            version=name, path=path, sha256=sha256_of(path), feature_names=own, architecture=name
        )
        scores = score_champion(champion, whole.feature_names, arrays, context_length=128)
        model = ServedModel(path.read_bytes(), name, len(own))
        test_N = arrays.row_N[arrays.test]
        window_NLC = arrays.features_RC[test_N[:, None] + np.arange(-127, 1)][:, :, columns]
        np.testing.assert_allclose(
            scores.p_N, model.p_win(window_NLC.astype(np.float32)), rtol=0, atol=1e-6, err_msg=name
        )


def test_a_champion_is_built_as_its_manifest_says_whatever_the_candidate_is(
    trained: Trained, tmp_path: Path
) -> None:
    """After a change of CLM_ARCHITECTURE the first cycle has a champion of the one before."""
    path = served(tmp_path / "mix.pth", "patchtst-mix", n_features=5)
    mix = ChampionRef(
        version="mix",
        path=path,
        sha256=sha256_of(path),
        feature_names=trained.job.feature_names,
        architecture="patchtst-mix",
    )
    assert score(trained, mix).p_N is not None
    taken_for_another = score(trained, replace(mix, architecture="engine"))
    assert "does not load into this architecture" in taken_for_another.absent_because


def test_what_was_a_history_is_not_read_from_what_is_held_over_a_window(tmp_path: Path) -> None:
    """The same names, but each window would repeat one value: it would lose for the wrong reason."""
    arrays = jobs.arrays(jobs.dataset(n_features=3), tmp_path / "job")
    held = replace(arrays, held_K=np.array([0, 1]), held_NK=arrays.features_RC[arrays.row_N][:, :2])
    path = served(tmp_path / "model.pth", "engine", n_features=2)
    of_two = ChampionRef(version="v", path=path, sha256=sha256_of(path), feature_names=jobs.FEATURES[:2])
    assert score_champion(of_two, jobs.FEATURES[:3], arrays, context_length=128).p_N is not None
    assert score_champion(of_two, jobs.FEATURES[:3], held, context_length=128).p_N is None
    of_mixed = replace(of_two, feature_names=jobs.FEATURES[2:0:-1])
    assert score_champion(of_mixed, jobs.FEATURES[:3], held, context_length=128).p_N is not None


def test_a_champion_whose_bytes_changed_is_not_scored(trained: Trained, champion: ChampionRef) -> None:
    """Whatever lies there now is not the model that was recorded."""
    scores = score(trained, replace(champion, sha256="0" * 64))
    assert scores.p_N is None
    assert "has sha256" in scores.absent_because


def test_a_missing_champion_is_not_scored(trained: Trained, champion: ChampionRef, tmp_path: Path) -> None:
    """The candidate is still judged by the other gates."""
    scores = score(trained, replace(champion, path=tmp_path / "gone.pth"))
    assert scores.p_N is None
    assert "cannot be read: No such file" in scores.absent_because


def test_a_champion_that_is_not_of_the_architecture_it_says_is_not_scored(
    trained: Trained, champion: ChampionRef, tmp_path: Path
) -> None:
    """The engine would serve random weights for it; that is nothing to be compared with."""
    path = tmp_path / "other.pth"
    torch.save({"model_state_dict": {"layer.weight": torch.zeros(1)}}, path)
    scores = score(trained, replace(champion, path=path, sha256=sha256_of(path)))
    assert scores.p_N is None
    assert "does not load into this architecture" in scores.absent_because


def test_a_champion_that_answers_nan_is_not_scored(
    trained: Trained, champion: ChampionRef, tmp_path: Path
) -> None:
    """Finite weights can still overflow; NaN would poison the comparison."""
    model = architecture("engine").build(0.0)
    torch.nn.init.constant_(model.output_proj.weight, 3e38)  # type: ignore[arg-type,union-attr]
    path = tmp_path / "overflows.pth"
    torch.save({"model_state_dict": model.state_dict()}, path)
    scores = score(trained, replace(champion, path=path, sha256=sha256_of(path)))
    assert scores.p_N is None
    assert "not finite" in scores.absent_because
