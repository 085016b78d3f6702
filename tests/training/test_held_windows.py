"""Windows of candles, with channels that hold the sample's own features, on the way through training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.data.dataset import Dataset, build_dataset
from clm.domain.job import TrainingJob, TrainingResult
from clm.evaluation.metrics import auroc
from clm.models.catalogue import architecture
from clm.questions.train import TrainingArrays
from clm.training.export import load_served
from clm.training.plain import score_folds, score_logistic
from clm.training.predict import p_win
from clm.training.train import train_job
from clm.training.windows import live_channels, raw_windows, scaled_windows
from tests.builders import data_policy, training_spec
from tests.data.candles.market import candles, series
from tests.training import jobs
from tests.training.jobs import read_job, write_job

NAMES = ("candle_return_1", "rsi", "candle_bb_position", "volatility", "candle_high_low_range")
HELD = [1, 3]
PER_SAMPLE = (
    "symbol_R",
    "decided_at_R",
    "resolved_at_R",
    "side_R",
    "outcome_R",
    "pnl_R",
    "market_return_R",
    "entry_price_R",
)


def dataset(**changes: object) -> Dataset:
    """Samples every hour whose wins follow their own rsi; two samples a candle."""
    table = jobs.table(n_windows=300)
    hours = len(table) // 2
    first = int(table.decided_at_R[0])
    one = series(hours + 200, seed=4)
    shift = first - 200 * one.interval - int(one.opened_at_T[0]) - one.interval
    both = [replace(one, symbol=name, opened_at_T=one.opened_at_T + shift) for name in table.symbols]
    doubled = np.sort(np.tile(np.arange(len(table)), 2))
    table = replace(
        table,
        sample_id_R=np.arange(1, 2 * len(table) + 1),
        features_RC=table.features_RC[np.roll(doubled, 1)],
        **{name: getattr(table, name)[doubled] for name in PER_SAMPLE},
    )
    policy = replace(data_policy(), features=NAMES, window_source="candles", **changes)
    return build_dataset(table, policy, candles(*both))


DATASET = dataset()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingJob, TrainingArrays, TrainingResult]:
    """A whole training in this process."""
    directory = tmp_path_factory.mktemp("held")
    job = jobs.job(directory, of=DATASET, spec=training_spec(epochs=2, batch_size=64))
    job = replace(job, feature_names=DATASET.feature_names)
    write_job(job, DATASET)
    job, arrays = read_job(directory)
    return job, arrays, train_job(job, arrays, lambda report: None)


def test_several_samples_share_a_candle() -> None:
    """Else the last step would name the window, and this file would test nothing."""
    ends_N = DATASET.windows.end_N

    assert len(np.unique(ends_N)) < len(ends_N)
    assert DATASET.windows.held_K.tolist() == HELD


@pytest.mark.parametrize("scaled", [False, True])
def test_a_gathered_window_is_the_datasets_own(tmp_path: Path, scaled: bool) -> None:
    """Training must see exactly the windows that were audited."""
    arrays = jobs.arrays(DATASET, tmp_path)
    windows = (scaled_windows if scaled else raw_windows)(arrays, n_channels=8, context_length=128)
    part = np.array([0, 1, 5, len(DATASET.row_N) - 1])
    wanted_NLC = DATASET.windows.gather(part).astype(np.float32).astype(np.float64)
    if scaled:
        wanted_NLC = DATASET.scaler.apply(wanted_NLC)
    got = windows.gather(torch.from_numpy(arrays.name_N[part])).numpy()

    np.testing.assert_array_equal(got[:, :, :5], wanted_NLC.astype(np.float32))
    assert not got[:, :, 5:].any()
    assert (got[:, 0, HELD] == got[:, -1, HELD]).all()


def test_the_last_step_is_that_of_the_window(tmp_path: Path) -> None:
    """The challenger looks at it, held channels included."""
    arrays = jobs.arrays(DATASET, tmp_path)
    part = DATASET.split.test

    np.testing.assert_array_equal(arrays.last_steps(part), DATASET.windows.gather(part)[:, -1])


def test_a_held_feature_that_never_varied_in_training_is_silent(tmp_path: Path) -> None:
    """Nothing was learnt about it, whatever it does in the test part."""
    arrays = jobs.arrays(DATASET, tmp_path)
    arrays.held_NK[:, 0] = 50.0
    arrays.held_NK[DATASET.split.test, 0] = 99.0
    windows = scaled_windows(arrays, n_channels=8, context_length=128)

    assert live_channels(arrays, 8).tolist() == [True, False, True, True, True, False, False, False]
    assert not windows.gather(torch.from_numpy(arrays.name_N))[:, :, 1].any()


def test_the_served_file_gives_our_predictions_from_unscaled_windows(
    trained: tuple[TrainingJob, TrainingArrays, TrainingResult],
) -> None:
    """The folding must hold for both kinds of channels: the engine feeds raw values."""
    job, _, result = trained
    engine = architecture("engine").build(0.0).eval()
    load_served(engine, result.weights_path.read_bytes())
    x_NLC = np.zeros((len(DATASET.split.test), 128, 8), dtype=np.float32)
    x_NLC[:, :, :5] = DATASET.windows.gather(DATASET.split.test)
    with torch.inference_mode():
        p_N = p_win(engine(torch.from_numpy(x_NLC)).double().numpy().reshape(-1))

    np.testing.assert_allclose(p_N, result.p_candidate_N, atol=1e-5)
    assert job.feature_names == NAMES
    assert result.notes["silent_features"] == []


def test_folds_survive_the_way_to_the_child_and_the_last_is_the_challengers(tmp_path: Path) -> None:
    """The report shows the variation of the baseline next to the figure of the test part."""
    folded = dataset(split=replace(data_policy().split, folds=3))
    arrays = jobs.arrays(folded, tmp_path)
    figures = score_folds(arrays)

    assert [(figure["train"], figure["test"]) for figure in figures] == [
        (len(fold.train), len(fold.test)) for fold in folded.folds
    ]
    assert len(figures) == 3
    label_N = folded.label_N[folded.split.test]
    assert figures[-1]["auroc"] == pytest.approx(auroc(label_N, score_logistic(arrays).p_test_N), abs=1e-3)
    assert all(0.0 <= figure["auroc"] <= 1.0 for figure in figures)


def test_a_fold_of_nothing_has_no_figure(tmp_path: Path) -> None:
    """NaN is not a bad model."""
    nothing = np.empty(0, dtype=np.int64)
    arrays = jobs.arrays(DATASET, tmp_path)
    (figure,) = score_folds(replace(arrays, folds=((nothing, arrays.test),)))

    assert np.isnan(figure["auroc"])
