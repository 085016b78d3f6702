"""A network that begins as logistic regression on the last step of its windows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.evaluation.metrics import auroc, log_loss_rows
from clm.models.catalogue import ARCHITECTURES, Architecture, architecture
from clm.models.linear_start import StartsLinear
from clm.questions.train import TrainingArrays
from clm.training.loss import class_weights
from clm.training.plain import score_logistic
from clm.training.predict import logits, p_win
from clm.training.start import begin
from clm.training.windows import part_of, scaled_windows
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import train

STRAIGHT = [chosen for chosen in ARCHITECTURES if isinstance(chosen.build(0.0), StartsLinear)]


def begun(chosen: Architecture, directory: Path, *, start: str = "logistic", **what: int):
    """Return a network before its first step, its data, and P(WIN) of the test rows."""
    dataset = jobs.dataset(**what)
    arrays = jobs.arrays(dataset, directory)
    windows = scaled_windows(arrays, n_channels=chosen.n_features, context_length=128)
    torch.manual_seed(5)
    model = begin(chosen, windows, part_of(arrays, arrays.train), training_spec(start=start))
    test_N = torch.from_numpy(arrays.name_N[arrays.test])
    return model, arrays, p_win(logits(model, windows, test_N))


def unweighted(p_N: np.ndarray, arrays: TrainingArrays) -> np.ndarray:
    """Return P(WIN) without what class weights add to the log odds."""
    loss, win = class_weights(torch.from_numpy(arrays.label_N[arrays.train]))
    return p_win(np.log(p_N / (1 - p_N)) - np.log(win / loss))


@pytest.mark.parametrize("chosen", STRAIGHT, ids=lambda chosen: chosen.name)
def test_the_start_answers_as_the_regression_does(chosen: Architecture, tmp_path: Path) -> None:
    """Whatever a training learns, it cannot end below the first challenger by more than this."""
    _, arrays, p_N = begun(chosen, tmp_path, n_windows=1200)
    p_N = unweighted(p_N, arrays)
    logistic_N = score_logistic(arrays).p_test_N
    label_N = arrays.label_N[arrays.test]
    assert np.corrcoef(np.log(p_N / (1 - p_N)), np.log(logistic_N / (1 - logistic_N)))[0, 1] > 0.98
    assert abs(auroc(label_N, p_N) - auroc(label_N, logistic_N)) < 0.01
    assert abs(float((log_loss_rows(label_N, p_N) - log_loss_rows(label_N, logistic_N)).mean())) < 0.01


@pytest.mark.parametrize("chosen", STRAIGHT, ids=lambda chosen: chosen.name)
def test_what_is_not_on_the_straight_path_can_still_be_learnt(chosen: Architecture, tmp_path: Path) -> None:
    """A path laid by zeros that no gradient reaches would leave a regression for ever."""
    model, *_ = begun(chosen, tmp_path)
    model.train()
    model(torch.randn(16, 128, chosen.n_features)).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_a_start_anywhere_knows_nothing(tmp_path: Path) -> None:
    """The test above is not idle: the data are such that a network drawn at random does not rank them."""
    _, arrays, p_N = begun(architecture("engine"), tmp_path, start="random", n_windows=1200)
    label_N = arrays.label_N[arrays.test]
    assert auroc(label_N, p_N) < 0.65 < 0.75 < auroc(label_N, score_logistic(arrays).p_test_N)


def test_labels_of_one_kind_have_no_line_through_them(tmp_path: Path) -> None:
    """The audits refuse such data; the training must not be the one to break on it."""
    chosen = architecture("engine")
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    windows = scaled_windows(arrays, n_channels=8, context_length=128)
    wins = replace(part_of(arrays, arrays.train), label_N=torch.ones(len(arrays.train)))
    model = begin(chosen, windows, wins, training_spec(start="logistic"))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_a_value_held_all_over_a_window_is_part_of_its_last_step(tmp_path: Path) -> None:
    """The regression also reads features of the sample, not only those of candles."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    held = replace(arrays, held_K=np.array([2]), held_NK=np.arange(len(arrays.row_N))[:, None] * 1.0)
    windows = scaled_windows(held, n_channels=8, context_length=128)
    name_N = torch.arange(5)
    assert torch.equal(windows.last_step(name_N), windows.gather(name_N)[:, -1])


def test_the_start_is_judged_as_epoch_0_and_kept_where_nothing_is_better(tmp_path: Path) -> None:
    """A learning rate that destroys what was known leaves the regression, and the report says so."""
    spec = training_spec(start="logistic", epochs=2, learning_rate=0.5)
    trained = train(tmp_path, jobs.dataset(n_windows=1200), spec=spec)
    first, *rest = trained.result.epochs
    assert (first.epoch, trained.result.best_epoch) == (0, 0)
    assert np.isnan(first.train_loss)
    assert all(np.isfinite(report.train_loss) for report in rest)
    label_N = trained.arrays.label_N[trained.arrays.test]
    p_N = trained.result.p_candidate_N
    assert abs(auroc(label_N, p_N) - auroc(label_N, trained.result.p_logistic_N)) < 0.01


def test_a_network_without_a_straight_path_begins_anywhere(tmp_path: Path) -> None:
    """It is asked to begin as a regression and cannot: its first answers mean nothing either."""
    assert [chosen.name for chosen in STRAIGHT] == ["engine", "patchtst-mix"]
    spec = training_spec(epochs=1, start="logistic", architecture="patchtst")
    trained = train(tmp_path, jobs.dataset(), spec=spec)
    assert [report.epoch for report in trained.result.epochs] == [1]


def test_a_start_anywhere_is_not_judged(tmp_path: Path) -> None:
    """Its answers mean nothing, and a lucky one must not be kept."""
    trained = train(tmp_path, jobs.dataset(), spec=training_spec(epochs=1))
    assert [report.epoch for report in trained.result.epochs] == [1]
