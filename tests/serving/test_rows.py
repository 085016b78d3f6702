"""A model of rows, fed one by one as the store has them, answers as training would, or says why not."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from clm.artefacts.golden import read_golden
from clm.artefacts.manifest import Artefact
from clm.artefacts.registry import DirectoryRegistry
from clm.clock import from_micros
from clm.data.dataset import Dataset
from clm.errors import ArtefactError, DataError
from clm.models.catalogue import architecture
from clm.models.served_file import load_served
from clm.serving.abstention import Abstains
from clm.serving.candle_book import Candle
from clm.serving.predictor import ARTEFACTS, Answer, Predictor
from clm.settings import Settings
from clm.training.predict import logits, p_win
from clm.training.windows import raw_windows
from tests.serving.served import VERSION, registered, weights
from tests.training import jobs

OTHER = "patchtst_v20260302_120000"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Five features, the last one constant."""
    return jobs.dataset(n_features=5, constant=4)


@pytest.fixture
def artefact(tmp_path: Path, dataset: Dataset) -> Artefact:
    return registered(tmp_path, dataset)


@pytest.fixture
def predictor(artefact: Artefact) -> Predictor:
    return Predictor.load(artefact.model_path)


def stored(dataset: Dataset, symbol: str = "BTCUSDT") -> Iterator[tuple[datetime, dict[str, float]]]:
    """The rows of a symbol in the order of time."""
    table = dataset.table
    code = table.symbols.index(symbol)
    for row in np.flatnonzero(table.symbol_R == code):
        features = dict(zip(table.feature_names, table.features_RC[row].tolist(), strict=True))
        yield from_micros(table.decided_at_R[row]), features


def fed(predictor: Predictor, dataset: Dataset, **changes: float) -> datetime:
    """Feed 128 rows, the last one with changes, and return when that was decided."""
    rows = list(stored(dataset))[:128]
    for number, (at, features) in enumerate(rows):
        last = changes if number == 127 else {}
        assert predictor.add_row("BTCUSDT", at, {**features, **last}) == ""
    return rows[-1][0]


def test_rows_fed_one_by_one_are_answered_as_training_answers_their_windows(
    predictor: Predictor, dataset: Dataset, artefact: Artefact, tmp_path: Path
) -> None:
    """Every window of both symbols, with rows as text, in both forms of the store, bit for bit."""
    network = architecture("engine").build(0.0)
    load_served(network, artefact.model_path.read_bytes())
    arrays = jobs.arrays(dataset, tmp_path / "job")
    everything = torch.from_numpy(arrays.row_N)
    trained_N = p_win(logits(network, raw_windows(arrays, n_channels=8, context_length=128), everything))
    wanted = dict(zip(dataset.table.sample_id_R[dataset.row_N].tolist(), trained_N.tolist(), strict=True))

    answers, order = {}, np.argsort(dataset.table.decided_at_R, kind="stable")
    for row in order.tolist():
        symbol = dataset.table.symbols[dataset.table.symbol_R[row]]
        at, values = from_micros(dataset.table.decided_at_R[row]), dataset.table.features_RC[row].tolist()
        names = list(dataset.feature_names)
        if row % 2:
            text, names_text = orjson.dumps(values).decode(), orjson.dumps(names).decode()
        else:
            text, names_text = orjson.dumps(dict(zip(names[::-1], values[::-1], strict=True))).decode(), None
        assert predictor.add_row(symbol, at, text, names_text) == ""
        answer = predictor.predict(symbol, at)
        if answer.p_win is not None:
            answers[int(dataset.table.sample_id_R[row])] = answer.p_win
        else:
            assert answer.abstains is Abstains.TOO_LITTLE_HISTORY
    assert answers.keys() == wanted.keys()
    # One window at a time and many at a time are added up in another order.
    np.testing.assert_allclose([answers[key] for key in wanted], list(wanted.values()), rtol=0, atol=1e-6)


def test_the_golden_rows_beside_the_model_are_its_own_answers(
    predictor: Predictor, artefact: Artefact
) -> None:
    """What the engine is asked after a switch."""
    assert artefact.golden_path is not None
    golden = read_golden(artefact.golden_path)
    assert len(np.unique(golden.p_G)) > 8
    np.testing.assert_allclose(predictor.p_win(golden.window_GLC), golden.p_G, rtol=0, atol=1e-6)
    one = predictor.answer(golden.window_GLC[0])
    assert one.p_win == pytest.approx(golden.p_G[0], abs=1e-6)


def test_actions_and_confidence_are_the_engines(
    artefact: Artefact, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BUY above 0.6, SELL below 0.4; the telemetry counts confidence in the action."""
    predictor = Predictor.load(artefact.model_path)
    window = dataset.windows.gather(dataset.split.test[:1])[0]
    for p, action, confidence in (
        (0.7, "BUY", 0.7),
        (0.3, "SELL", 0.7),
        (0.6, "HOLD", 0.5),
        (0.4, "HOLD", 0.5),
    ):
        monkeypatch.setattr(predictor._served.model, "p_win", lambda _, p=p: np.array([p]))
        answer = predictor.answer(window)
        assert (answer.p_win, answer.action) == (p, action)
        assert answer.confidence == pytest.approx(confidence)
        assert answer.version == VERSION


class TestItAbstains:
    """Each with its kind and a sentence; the action is HOLD and there is no P(WIN)."""

    def asked(self, predictor: Predictor, at: datetime, symbol: str = "BTCUSDT") -> tuple[object, str]:
        answer = predictor.predict(symbol, at)
        assert answer.p_win is None
        assert (answer.action, answer.confidence) == ("HOLD", 0.5)
        return answer.abstains, answer.reason

    def test_with_too_little_history(self, predictor: Predictor, dataset: Dataset) -> None:
        """127 rows are no window, an unknown symbol has none."""
        rows = list(stored(dataset))[:127]
        for at, features in rows:
            predictor.add_row("BTCUSDT", at, features)
        kind, reason = self.asked(predictor, rows[-1][0])
        assert (kind, reason) == (Abstains.TOO_LITTLE_HISTORY, "BTCUSDT has 127 of 128 rows")
        assert self.asked(predictor, rows[-1][0], "NEWUSDT")[0] is Abstains.TOO_LITTLE_HISTORY

    @pytest.mark.parametrize("late", [timedelta(seconds=3601), timedelta(seconds=-1)])
    def test_when_the_newest_row_is_old_or_of_the_future(
        self, predictor: Predictor, dataset: Dataset, late: timedelta
    ) -> None:
        """A feed that stopped must not go on being traded."""
        at = fed(predictor, dataset)
        assert predictor.predict("BTCUSDT", at + timedelta(seconds=3600)).p_win is not None
        assert self.asked(predictor, at + late)[0] is Abstains.STALE

    def test_beyond_the_range_of_the_training(self, predictor: Predictor, dataset: Dataset) -> None:
        """A network answers to anything; only who trained it knows what it saw."""
        kind, reason = self.asked(predictor, fed(predictor, dataset, rsi=500.0))
        assert kind is Abstains.OUT_OF_RANGE
        assert reason.startswith("rsi is ")

    def test_unless_the_feature_is_one_that_the_file_ignores(
        self, predictor: Predictor, dataset: Dataset
    ) -> None:
        """It did not vary in training; its weights are zero."""
        at = fed(predictor, dataset, macd=1e6)
        assert predictor.predict("BTCUSDT", at).abstains is None

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("column", [0, 4])
    def test_on_what_is_no_number(
        self, predictor: Predictor, dataset: Dataset, value: float, column: int
    ) -> None:
        """Not even where the file ignores it: zero times infinity is no number."""
        window = dataset.windows.gather(dataset.split.test[:1])[0]
        window[5, column] = value
        assert predictor.answer(window).abstains is Abstains.OUT_OF_RANGE

    def test_on_one_row_repeated(self, predictor: Predictor, dataset: Dataset) -> None:
        """This is what the existing engine feeds: any model answers with one number."""
        window = np.tile(dataset.windows.gather(dataset.split.test[:1])[0][-1], (128, 1))
        answer = predictor.answer(window)
        assert answer.abstains is Abstains.CONSTANT_INPUT
        assert answer.reason == "all 128 steps are the same: a repeated row contains no history"


@pytest.mark.parametrize(
    ("features", "names", "reason"),
    [
        ("", None, "features_missing"),
        ("{", None, "features_not_json"),
        ("[1, 2, 3]", '["rsi", "macd"]', "feature_names_unusable"),
        ('{"rsi": 1}', None, "other_features"),
        ({"rsi": 50.0}, None, "other_features"),
        (dict.fromkeys(jobs.FEATURES, float("nan")), None, "features_not_numbers"),
        (dict.fromkeys(jobs.FEATURES, 1e13), None, "features_huge"),
        (dict.fromkeys(jobs.FEATURES, True), None, "features_not_numbers"),
    ],
)
def test_a_row_that_training_would_not_use_is_not_taken(
    predictor: Predictor,
    dataset: Dataset,
    features: str | Mapping[str, float],
    names: str | None,
    reason: str,
) -> None:
    """By the same reasons; a feature that lacks is never 0."""
    assert predictor.add_row("BTCUSDT", next(stored(dataset))[0], features, names) == reason


def test_a_row_before_the_newest_is_not_taken(predictor: Predictor, dataset: Dataset) -> None:
    """A window in another order than that of time is another window."""
    at = fed(predictor, dataset)
    features = next(stored(dataset))[1]
    assert predictor.add_row("BTCUSDT", at - timedelta(microseconds=1), features) == "out_of_order"
    assert predictor.add_row("BTCUSDT", at, features) == ""


def test_candles_for_a_model_of_rows_are_refused(predictor: Predictor) -> None:
    """A mistake of the caller's, not of the market's."""
    candle = Candle(opened_at=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
    with pytest.raises(DataError, match="WRONG_INPUT"):
        predictor.add_candle("BTCUSDT", candle)


def test_a_file_named_after_its_version_finds_its_manifest(artefact: Artefact, tmp_path: Path) -> None:
    """So it lies in the engine's models directory, alone."""
    promoted = tmp_path / "models" / f"{VERSION}.pth"
    promoted.parent.mkdir()
    promoted.write_bytes(artefact.model_path.read_bytes())
    assert Predictor.load(promoted, artefacts=tmp_path / "artefacts").manifest == artefact.manifest
    with pytest.raises(ArtefactError, match="ARTEFACT_MISSING"):
        Predictor.load(promoted, artefacts=tmp_path / "elsewhere")
    assert Settings.model_fields["state_dir"].default / "artefacts" == ARTEFACTS


def test_a_model_whose_manifest_does_not_say_what_it_reads_is_refused(
    artefact: Artefact, tmp_path: Path
) -> None:
    """Without ranges and source, it would not know when to abstain."""
    old = DirectoryRegistry(tmp_path / "old").register(
        artefact.model_path, replace(artefact.manifest, inputs=None, golden_sha256="")
    )
    with pytest.raises(ArtefactError, match="does not contain its inputs"):
        Predictor.load(old.model_path)


def test_a_reload_takes_the_other_model_and_keeps_the_rows(
    predictor: Predictor, dataset: Dataset, tmp_path: Path
) -> None:
    """A promotion must not cost 128 rows of history."""
    at = fed(predictor, dataset)
    before = predictor.predict("BTCUSDT", at)
    predictor.reload(registered(tmp_path, dataset, seed=4, version=OTHER).model_path)
    after = predictor.predict("BTCUSDT", at)
    assert (before.version, after.version) == (VERSION, OTHER)
    assert after.p_win is not None
    assert after.p_win != before.p_win


def test_a_reload_that_fails_changes_nothing(predictor: Predictor, dataset: Dataset, tmp_path: Path) -> None:
    """The engine goes on with the model it has, also at the next reload."""
    at = fed(predictor, dataset)
    before = predictor.predict("BTCUSDT", at)
    torn = registered(tmp_path, dataset, seed=4, version=OTHER).model_path
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        predictor.reload(torn)
    predictor.reload()
    assert predictor.predict("BTCUSDT", at) == before


def test_a_model_of_other_features_begins_without_rows(
    predictor: Predictor, tmp_path: Path, dataset: Dataset
) -> None:
    """Rows are kept as the model before reads them."""
    at = fed(predictor, dataset)
    other = registered(tmp_path, jobs.dataset(n_features=4), seed=4, version=OTHER)
    predictor.reload(other.model_path)
    assert predictor.predict("BTCUSDT", at).abstains is Abstains.TOO_LITTLE_HISTORY


def test_threads_that_ask_feed_and_reload_get_whole_answers(
    dataset: Dataset, tmp_path: Path, artefact: Artefact
) -> None:
    """Version and P(WIN) of an answer belong together, and to a window that existed."""
    other = registered(tmp_path, dataset, seed=4, version=OTHER).model_path
    rows = list(stored(dataset))
    newest = rows[-1][0]
    values_RC = np.array([list(features.values()) for _, features in rows])
    windows_NLC = np.lib.stride_tricks.sliding_window_view(values_RC, 128, axis=0).transpose(0, 2, 1)
    right = {
        version: Predictor.load(path).p_win(windows_NLC.astype(np.float32))
        for path, version in ((artefact.model_path, VERSION), (other, OTHER))
    }
    predictor = Predictor.load(artefact.model_path, max_age_s=1e9)
    answers: list[Answer] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(predictor.predict("BTCUSDT", newest))

    def reload() -> None:
        while not done.is_set():
            predictor.reload(other)
            predictor.reload(artefact.model_path)

    threads = [threading.Thread(target=ask) for _ in range(3)] + [threading.Thread(target=reload)]
    for thread in threads:
        thread.start()
    for at, features in rows:
        predictor.add_row("BTCUSDT", at, features)
    while len({answer.version for answer in answers if answer.p_win is not None}) < 2:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    for answer in answers:
        if answer.p_win is not None:
            assert np.isclose(right[answer.version], answer.p_win, rtol=0, atol=1e-6).any()


def test_the_file_of_weights_is_the_only_thing_that_is_unpickled(
    artefact: Artefact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only once its hash was found to be the manifest's."""
    seen: list[object] = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.append(k["weights_only"]) or real(*a, **k))
    Predictor.load(artefact.model_path)
    assert seen == [True]
    artefact.model_path.write_bytes(weights(seed=9))
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        Predictor.load(artefact.model_path)
    assert seen == [True]
