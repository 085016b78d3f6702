"""Candles and walk-forward splits in the proof pack."""

from dataclasses import replace

import orjson
import pytest

from clm.data.splits import SplitPolicy
from clm.report.proof_pack import as_json, as_markdown
from tests.data.candles.market import candles, series
from tests.data.candles.test_windows import MANY, dataset, samples

FOLDS = SplitPolicy(train_share=0.7, validation_share=0.1, embargo_h=1.0, folds=3)


@pytest.fixture
def pack(full_pack):
    """Return a data set of candles with a gap, split into three folds."""
    market = candles(series(400, missing=(30,)))
    report = replace(market.reports[0], rejected={"still_open": 1}, gaps=1, missing=1)
    built = dataset(samples(*MANY), replace(market, reports=(report,)), split=FOLDS)
    figures = [{"train": 1, "test": 1, "auroc": area} for area in (0.51, None, 0.53)]
    notes = {**full_pack.training.notes, "logistic_folds": figures}
    return replace(full_pack, dataset=built, training=replace(full_pack.training, notes=notes))


def test_candles_are_reported_with_their_faults(pack):
    """Readers must know the data behind the windows."""
    (candles,) = orjson.loads(as_json(pack))["data"]["candles"]

    assert candles["symbol"] == "BTCUSDT"
    assert (candles["interval_s"], candles["candles"]) == (3600, 399)
    assert candles["first_at"] == "2025-11-03T00:00:00.000000Z"
    assert "| candles, BTCUSDT | 399 of 3,600 s, 1 gaps with 1 missing, still_open 1 |" in as_markdown(pack)


def test_folds_are_reported_with_their_dates_and_the_baseline_on_each(pack):
    """One test part is a single draw; the baseline on the other folds shows how much AUROC varies."""
    folds = orjson.loads(as_json(pack))["splits"]["folds"]

    assert len(folds) == 3
    assert [fold["test"]["windows"] for fold in folds] == [len(fold.test) for fold in pack.dataset.folds]
    assert folds[0]["test"]["last"] < folds[1]["test"]["first"]
    text = as_markdown(pack)
    rows = [line for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |", "| 3 |"))]
    assert [row.split("|")[-2].strip() for row in rows] == ["0.510", "–", "0.530"]


def test_a_single_fold_is_the_split_and_is_not_repeated(full_pack):
    """A table of one fold adds nothing, and windows made of samples have no candles to report."""
    assert "| fold |" not in as_markdown(full_pack)
    assert orjson.loads(as_json(full_pack))["data"]["candles"] == []
