"""Windows of candles roll exactly as training computes them at once, and what is no candle is not taken."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from clm.clock import HOUR, MINUTE, from_micros
from clm.data.candles.catalogue import FEATURES, features_of
from clm.data.candles.series import CandleSeries
from clm.data.dataset import Dataset, build_dataset
from clm.errors import DataError
from clm.serving.abstention import Abstains, Abstention
from clm.serving.candle_book import KEPT, CandleBook, candle_window
from clm.serving.predictor import Predictor
from tests.builders import data_policy
from tests.data.candles.market import candles, series
from tests.serving.served import registered
from tests.serving.streaming import CONTEXT_LENGTH, candle, minutes, windows_that_differ
from tests.training import jobs

NAMES = ("candle_rsi", "candle_return_1", "candle_hour_of_week_sine", "macd")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def test_streamed_windows_are_those_of_the_batch_bit_for_bit() -> None:
    """All features; `benchmarks/serving.py` does a day of two hundred symbols."""
    assert windows_that_differ(minutes(3, 420), FEATURES) == (360, 0)


def test_where_old_candles_were_let_go_the_features_are_the_same_to_the_last_digits() -> None:
    """Exponential means never forget; what they hold of a day ago no float64 can show."""
    (market,) = minutes(1, 2 * KEPT + 200)
    book = CandleBook(MINUTE)
    for number in range(len(market)):
        book.add(market.symbol, candle(market, number))
    assert len(book.series(market.symbol)) == KEPT + 200
    now = int(market.closed_at_T[-1])
    window = candle_window(book.series(market.symbol), now, FEATURES, CONTEXT_LENGTH)
    assert not isinstance(window, Abstention)
    np.testing.assert_allclose(window, features_of(market, FEATURES)[-CONTEXT_LENGTH:], rtol=1e-9, atol=1e-15)


@pytest.fixture(scope="module")
def market() -> dict[str, CandleSeries]:
    """Hourly candles up to the newest sample of the table."""
    last = jobs.table().decided_at_R.max()
    opened_at_T = last - HOUR * np.arange(700, 0, -1)
    return {
        symbol: replace(series(700, symbol=symbol, seed=seed), opened_at_T=opened_at_T)
        for seed, symbol in enumerate(SYMBOLS)
    }


@pytest.fixture(scope="module")
def dataset(market: dict[str, CandleSeries]) -> Dataset:
    """Windows of three candle features and one feature of the sample."""
    policy = replace(data_policy(), window_source="candles", features=NAMES)
    return build_dataset(jobs.table(), policy, candles(*market.values()))


def test_answers_are_those_to_the_windows_of_training(
    dataset: Dataset, market: dict[str, CandleSeries], tmp_path: Path
) -> None:
    """From raw candles, together with the sample's own feature."""
    artefact = registered(tmp_path, dataset)
    assert artefact.manifest.inputs is not None
    assert artefact.manifest.inputs.interval == HOUR
    predictor = Predictor.load(artefact.model_path)
    for symbol, hourly in market.items():
        for number in range(len(hourly)):
            assert predictor.add_candle(symbol, candle(hourly, number)) == ""
    chosen = dataset.split.test[:40]
    wanted_N = predictor.p_win(dataset.windows.gather(chosen).astype(np.float32))
    for row, wanted in zip(dataset.row_N[chosen].tolist(), wanted_N.tolist(), strict=True):
        symbol = dataset.table.symbols[dataset.table.symbol_R[row]]
        own = dict(zip(dataset.table.feature_names, dataset.table.features_RC[row].tolist(), strict=True))
        answer = predictor.predict(symbol, from_micros(dataset.table.decided_at_R[row]), own)
        assert answer.p_win == pytest.approx(wanted, abs=1e-6)


class TestWithoutAWindow:
    """Each way in which candles are no window, by the rule of training."""

    @pytest.fixture
    def predictor(self, dataset: Dataset, tmp_path: Path) -> Predictor:
        return Predictor.load(registered(tmp_path, dataset).model_path)

    def ask(
        self, predictor: Predictor, hourly: CandleSeries, numbers: range | list[int]
    ) -> tuple[Abstains | None, str]:
        for number in numbers:
            predictor.add_candle(hourly.symbol, candle(hourly, number))
        answer = predictor.predict(hourly.symbol, self.close_of(hourly), {"macd": -0.001})
        assert (answer.p_win is None) == (answer.abstains is not None)
        return answer.abstains, answer.reason

    @staticmethod
    def close_of(hourly: CandleSeries) -> datetime:
        return from_micros(int(hourly.closed_at_T[-1]))

    def test_a_whole_series_has_one(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        assert self.ask(predictor, market["BTCUSDT"], range(700)) == (None, "")

    def test_no_candle_at_all(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        kind, reason = self.ask(predictor, market["BTCUSDT"], [])
        assert (kind, reason) == (Abstains.TOO_LITTLE_HISTORY, "BTCUSDT has no candles")

    def test_too_few_for_the_warm_up(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        kind, reason = self.ask(predictor, market["BTCUSDT"], range(560, 700))
        assert kind is Abstains.TOO_LITTLE_HISTORY
        assert "too few" in reason

    def test_the_last_one_did_not_come(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        assert self.ask(predictor, market["BTCUSDT"], range(699))[0] is Abstains.STALE

    def test_a_gap_within_it(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        kind, reason = self.ask(predictor, market["BTCUSDT"], [n for n in range(700) if n != 650])
        assert kind is Abstains.TOO_LITTLE_HISTORY
        assert "lacks candles" in reason

    def test_without_the_samples_own_feature_nothing_is_made_up(
        self, predictor: Predictor, market: dict[str, CandleSeries]
    ) -> None:
        hourly = market["BTCUSDT"]
        self.ask(predictor, hourly, range(700))
        with pytest.raises(DataError, match="FEATURES_MISSING: the model also reads the sample's macd"):
            predictor.predict("BTCUSDT", self.close_of(hourly))

    def test_rows_are_refused(self, predictor: Predictor, market: dict[str, CandleSeries]) -> None:
        with pytest.raises(DataError, match="WRONG_INPUT"):
            predictor.add_row("BTCUSDT", self.close_of(market["BTCUSDT"]), {"macd": 0.0})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"close": float("nan")}, "bad_number"),
        ({"volume": float("inf")}, "bad_number"),
        ({"low": 0.0}, "impossible_prices"),
        ({"high": 1e-6}, "impossible_prices"),
        ({"volume": -1.0}, "impossible_prices"),
        ({"opened_at": -1}, "off_grid"),
        ({"opened_at": -2 * MINUTE}, "out_of_order"),
        ({"opened_at": 0}, ""),
        ({"opened_at": 60 * MINUTE}, ""),
    ],
)
def test_what_is_no_candle_is_not_taken(changes: dict[str, float], reason: str) -> None:
    """With the reasons of candle files; times are checked from the second candle on."""
    (market,) = minutes(1, 12)
    book = CandleBook(MINUTE)
    for number in range(10):
        book.add(market.symbol, candle(market, number))
    offered = candle(market, 10)
    at = offered.opened_at + int(changes.get("opened_at", 0))
    assert book.add(market.symbol, replace(offered, **{**changes, "opened_at": at})) == reason
    assert len(book.series(market.symbol)) == 10 + (reason == "")


def test_of_two_candles_of_one_time_that_differ_both_are_left_out() -> None:
    """Which one is right is unknown; the same one twice is one."""
    (market,) = minutes(1, 10)
    book = CandleBook(MINUTE)
    for number in range(10):
        book.add(market.symbol, candle(market, number))
    given_out = book.series(market.symbol)
    last = candle(market, 9)
    assert book.add(market.symbol, last) == "duplicate"
    assert book.add(market.symbol, replace(last, volume=last.volume + 1)) == "conflicting_duplicate"
    assert len(book.series(market.symbol)) == 9
    assert book.add(market.symbol, replace(last, volume=7.0)) == ""
    assert given_out.volume_T[-1] == last.volume
