"""Settings of candles and folds: what cannot work is refused before anything is read."""

from pathlib import Path

import pytest

from clm.errors import ConfigError
from clm.settings import load_settings
from clm.store.candle_files import CandleDirectory
from clm.wiring import candles_of, policies


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("CLM_")]:
        monkeypatch.delenv(name)


def test_windows_are_made_of_samples_unless_candles_are_asked_for():
    """Nothing is read that is not needed."""
    assert candles_of(load_settings()) is None
    settings = load_settings({"CLM_WINDOW_SOURCE": "candles", "CLM_CANDLES_DIR": "/c"})

    assert isinstance(candles_of(settings), CandleDirectory)
    assert policies(settings).data.window_source == "candles"
    with pytest.raises(ConfigError, match="CLM_WINDOW_SOURCE"):
        load_settings({"CLM_WINDOW_SOURCE": "tiled"})


def test_the_root_moves_the_candles_too():
    """Development must not read the server's."""
    settings = load_settings({"CLM_ROOT": "/r"})

    assert settings.candles_dir == Path("/r/opt/quantum/data/market_data/latest")


def test_a_feature_that_candles_do_not_have_is_refused_by_name():
    """Known before a candle is read; a sample's own features are the store's to know."""
    names = {"CLM_FEATURES": "candle_rsi,rsi,candle_rsii"}
    with pytest.raises(ConfigError, match="candles have no candle_rsii; they have return_1"):
        load_settings({**names, "CLM_WINDOW_SOURCE": "candles"})
    assert load_settings(names).features == ("candle_rsi", "rsi", "candle_rsii")

    asked = load_settings({"CLM_FEATURES": "candle_rsi,rsi", "CLM_WINDOW_SOURCE": "candles"})
    assert policies(asked).data.sample_features == ("rsi",)


def test_folds_must_leave_the_first_one_something_to_train_on():
    """0.7 and 0.15 leave five test parts of 0.15 in a row, and not six."""
    assert policies(load_settings({"CLM_DATA__FOLDS": "5"})).data.split.folds == 5
    with pytest.raises(ConfigError, match="CLM_DATA__FOLDS leaves the first fold less than"):
        load_settings({"CLM_DATA__FOLDS": "6"})
