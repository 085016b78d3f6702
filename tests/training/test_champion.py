"""The champion is scored as the engine would, or said to be absent and why."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.artefacts.files import sha256_of
from clm.domain.job import ChampionRef
from clm.models.catalogue import architecture
from clm.training.champion import ChampionScores, score_champion
from clm.training.windows import raw_windows
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


def score(trained: Trained, champion: ChampionRef | None) -> ChampionScores:
    return score_champion(
        champion,
        architecture("engine"),
        trained.job.feature_names,
        raw_windows(trained.arrays, n_channels=8, context_length=128),
        torch.from_numpy(trained.arrays.row_N[trained.arrays.test]),
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
    """The first model has nobody to beat, and the verdict says so."""
    assert score(trained, None).absent_because == "the engine's environment file names no model"


def test_a_champion_on_other_features_is_not_scored(trained: Trained, champion: ChampionRef) -> None:
    """Fed rsi where it expects returns it would lose for the wrong reason."""
    scores = score(trained, replace(champion, feature_names=("rsi", "macd")))
    assert scores.p_N is None
    assert "was trained on rsi, macd" in scores.absent_because


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


def test_a_champion_of_another_architecture_is_not_scored(
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
