"""Windows gathered on the fly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clm.data.windows import gather
from clm.training.windows import live_channels, raw_windows, scaled_windows
from tests.training import jobs


def test_a_gathered_window_is_the_datasets_own(tmp_path: Path) -> None:
    """Training must see exactly the windows that were audited, oldest step first."""
    dataset = jobs.dataset()
    raw = raw_windows(jobs.arrays(dataset, tmp_path), n_channels=8, context_length=128)
    got = raw.gather(torch.from_numpy(dataset.row_N))
    wanted = gather(dataset.table.features_RC, dataset.row_N, 128).astype(np.float32)
    np.testing.assert_array_equal(got.numpy(), wanted)


def test_unused_channels_are_fed_zeros(tmp_path: Path) -> None:
    """The engine's window always has eight channels, a store may have five."""
    arrays = jobs.arrays(jobs.dataset(n_features=5), tmp_path)
    for windows in (raw_windows, scaled_windows):
        values_RC = windows(arrays, n_channels=8, context_length=128).values_RC
        assert values_RC.shape[1] == 8
        assert values_RC[:, 5:].abs().max() == 0
        assert (values_RC[:, :5].std(dim=0) > 0).all()


def test_scaled_windows_have_the_training_parts_mean_and_spread(tmp_path: Path) -> None:
    """A scaler that saw validation or test would carry the future into training."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    scaled = scaled_windows(arrays, n_channels=8, context_length=128)
    trained_RC = scaled.values_RC[np.unique(arrays.row_N[arrays.train])].double()
    torch.testing.assert_close(trained_RC.mean(dim=0), torch.zeros(8).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(trained_RC.std(dim=0, correction=0), torch.ones(8).double(), atol=1e-4, rtol=0)


def test_a_feature_that_never_varied_in_training_is_silent(tmp_path: Path) -> None:
    """Nothing was learnt about it, so a move of it in the test part must not move the answer."""
    arrays = jobs.arrays(jobs.dataset(constant=2), tmp_path)
    arrays.features_RC[-1, 2] = 99.0
    assert live_channels(arrays, 8).tolist() == [True, True, False, True, True, True, True, True]
    assert scaled_windows(arrays, n_channels=8, context_length=128).values_RC[:, 2].abs().max() == 0


def test_more_features_than_channels_are_refused(tmp_path: Path) -> None:
    """Cutting off the ninth would train on something else than was asked for."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    with pytest.raises(ValueError, match="8 features do not fit into the 7 channels"):
        raw_windows(arrays, n_channels=7, context_length=128)
