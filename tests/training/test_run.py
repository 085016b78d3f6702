"""One training as a whole: what is promised of the file and of its predictions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clm.artefacts.files import sha256_of
from clm.data.windows import gather
from clm.errors import TrainingError
from clm.evaluation.metrics import log_loss_rows
from clm.training import train as run
from clm.training.export import weights_hash
from clm.training.predict import p_win
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import Trained, train


class EngineCopy(nn.Module):
    """The serving engine's network, written down a second time from plain torch.nn."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(128, 128)
        self.pos_encoding = nn.Parameter(torch.zeros(1, 8, 128))
        layer = nn.TransformerEncoderLayer(128, 4, dim_feedforward=512, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, num_layers=3)
        self.output_proj = nn.Linear(128, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x.reshape(-1, 8, 128)) + self.pos_encoding
        return torch.sigmoid(self.output_proj(self.transformer(x).mean(dim=1)))


def as_the_engine_reads(path: Path) -> EngineCopy:
    engine = EngineCopy()
    engine.load_state_dict(torch.load(path, weights_only=True)["model_state_dict"], strict=True)
    return engine.eval()


def raw_windows(trained: Trained, part: np.ndarray, *, fill: float = 0.0) -> Tensor:
    """Unscaled windows with all eight channels; the unused ones hold `fill`."""
    x_NLC = gather(trained.dataset.table.features_RC, trained.dataset.row_N[part], 128)
    unused = np.full((*x_NLC.shape[:2], 8 - x_NLC.shape[2]), fill)
    return torch.from_numpy(np.concatenate([x_NLC, unused], axis=2)).float()


def test_a_plain_copy_of_the_engine_gives_our_predictions_from_unscaled_windows(trained: Trained) -> None:
    """The gates judge what will be served, not a relative of it."""
    engine = as_the_engine_reads(trained.result.weights_path)
    with torch.no_grad():
        p_N = engine(raw_windows(trained, trained.dataset.split.test)).squeeze(-1).numpy()
    np.testing.assert_allclose(p_N, trained.result.p_candidate_N, atol=1e-5, rtol=0)
    assert trained.result.p_candidate_N.std() > 1e-3


def test_whatever_is_fed_into_unused_channels_changes_nothing(trained: Trained) -> None:
    """The engine fills all eight channels, whether we trained on them or not."""
    engine = as_the_engine_reads(trained.result.weights_path)
    test = trained.dataset.split.test
    with torch.no_grad():
        assert torch.equal(engine(raw_windows(trained, test)), engine(raw_windows(trained, test, fill=1e6)))


def test_columns_of_unused_and_silent_channels_are_zero_in_the_file(trained: Trained) -> None:
    """Channels 5 to 7 have no feature, channel 4 was constant in training."""
    by_step = as_the_engine_reads(trained.result.weights_path).patch_embedding.weight.reshape(128, 16, 8)
    assert (by_step[:, :, 4:] == 0).all()
    assert (by_step[:, :, :4].abs().sum(dim=(0, 1)) > 0).all()
    assert trained.result.notes["silent_features"] == ["macd"]


def test_the_result_names_the_file_that_lies_there(trained: Trained) -> None:
    """Hash, weights hash and size belong to the file, not to the network in memory."""
    path = trained.result.weights_path
    state = torch.load(path, weights_only=True)["model_state_dict"]
    assert trained.result.file_sha256 == sha256_of(path)
    assert trained.result.weights_hash == weights_hash(state)
    assert trained.result.n_parameters == 612_481


def test_the_best_epochs_weights_are_in_the_file(tmp_path: Path) -> None:
    """The file must reproduce the best reported validation log loss, not the last one."""
    spec = training_spec(batch_size=32, epochs=5, patience=5, learning_rate=2e-3, dropout=0.0)
    trained = train(tmp_path, jobs.dataset(seed=4), spec=spec)
    losses = [report.validation_log_loss for report in trained.result.epochs]
    assert trained.result.best_epoch < len(losses), "the last epoch is the best: choose a longer training"
    engine, validation = as_the_engine_reads(trained.result.weights_path), trained.dataset.split.validation
    with torch.no_grad():
        p_N = engine(raw_windows(trained, validation)).squeeze(-1).double().numpy()
    again = log_loss_rows(trained.dataset.label_N[validation], p_N).mean()
    assert again == pytest.approx(min(losses), abs=1e-5)
    assert again != pytest.approx(losses[-1], abs=1e-4)


def test_calibration_is_in_the_file(trained: Trained) -> None:
    """The file must answer as sharply as what was judged: weights and smoothing do not lead there."""
    engine, validation = as_the_engine_reads(trained.result.weights_path), trained.dataset.split.validation
    with torch.no_grad():
        p_N = engine(raw_windows(trained, validation)).squeeze(-1).double().numpy()
    (best,) = (report for report in trained.result.epochs if report.epoch == trained.result.best_epoch)
    loss = log_loss_rows(trained.dataset.label_N[validation], p_N).mean()
    assert loss == pytest.approx(best.validation_log_loss, abs=1e-5)
    fitted = trained.result.notes["calibration"]
    log_odds_N = np.log(p_N / (1.0 - p_N))
    as_trained_N = p_win((log_odds_N - fitted["intercept"]) / fitted["slope"])
    assert np.abs(as_trained_N - p_N).max() > 1e-3  # the test is not idle


def test_the_same_seed_twice_gives_the_same_file_and_another_seed_another(
    tmp_path: Path, trained: Trained
) -> None:
    """A result that cannot be repeated cannot be examined."""
    dataset = jobs.dataset(n_features=5, constant=4)
    again = train(tmp_path / "again", dataset)
    other = train(tmp_path / "other", dataset, spec=training_spec(batch_size=32, epochs=2, seed=8))
    assert again.result.weights_hash == trained.result.weights_hash
    assert again.result.file_sha256 == trained.result.file_sha256
    assert other.result.weights_hash != trained.result.weights_hash


def test_test_rows_are_never_trained_on(tmp_path: Path, trained: Trained) -> None:
    """Turning every test label round leaves every weight as it was."""
    arrays = jobs.arrays(trained.dataset, tmp_path)
    arrays.label_N[arrays.test] = 1 - arrays.label_N[arrays.test]
    result = run.train_job(jobs.job(tmp_path, of=trained.dataset), arrays, lambda report: None)
    assert result.weights_hash == trained.result.weights_hash


def test_a_fold_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A feature a hundred thousand times larger than its spread loses its digits in the served file."""
    dataset = jobs.dataset()
    arrays = jobs.arrays(dataset, tmp_path)
    arrays.features_RC[:, 3] = 1e7 + 100 * np.random.default_rng(0).normal(size=len(arrays.features_RC))
    arrays.scaler.mean_C[3], arrays.scaler.scale_C[3] = 1e7, 100
    with pytest.raises(TrainingError) as caught:
        run.train_job(jobs.job(tmp_path, of=dataset), arrays, lambda report: None)
    assert caught.value.code == "EXPORT_MISMATCH"


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        (
            "features_RC",
            lambda features_RC: np.resize(features_RC, (len(features_RC), 9)),
            "at most 8 features",
        ),
        ("test", lambda test: test[:0], "part of the split is empty"),
    ],
)
def test_a_job_that_the_architecture_cannot_take_is_refused(
    tmp_path: Path, name: str, spoil: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    """The audits refuse it before; the child refuses what came around them."""
    dataset = jobs.dataset()
    arrays = jobs.arrays(dataset, tmp_path)
    spoilt = replace(arrays, **{name: spoil(getattr(arrays, name))})
    with pytest.raises(TrainingError, match=said) as caught:
        run.train_job(jobs.job(tmp_path, of=dataset), spoilt, lambda report: None)
    assert caught.value.code == "JOB_UNREADABLE"
