"""Samples into a store that has none, by the command line."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clm.data.candles.backfill import backfill
from clm.errors import DataError
from clm.store.backfill import fill_empty
from clm.store.create import create_store
from tests.data.candles.test_backfill import MARKET, NOW, policy
from tests.store.test_candle_files import HEADER, lines, write

ROWS = [sample.as_row() for sample in backfill(MARKET, policy(), NOW)]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    create_store(tmp_path / "new.db")
    return tmp_path / "new.db"


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM ai_training_samples").fetchone()[0]


def test_all_rows_or_none(empty: Path) -> None:
    """One transaction: a store half filled would be refused as filled ever after."""

    def broken():
        yield from ROWS[:-1]
        yield {**ROWS[-1], "symbol": None}

    with pytest.raises(DataError, match="STORE_CONSTRAINT"):
        fill_empty(empty, broken())
    assert count(empty) == 0
    assert fill_empty(empty, ROWS) == len(ROWS) == count(empty)


def test_a_store_with_samples_is_refused(empty: Path) -> None:
    """Synthetic trades among real ones could never be separated again."""
    fill_empty(empty, ROWS[:1])

    with pytest.raises(DataError, match="STORE_NOT_EMPTY"):
        fill_empty(empty, ROWS)
    assert count(empty) == 1


def clm(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clm", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_verb_fills_the_store_and_says_so(empty: Path, tmp_path: Path) -> None:
    """What a new user types."""
    (tmp_path / "candles").mkdir()
    rows = [line.replace(",10,12,9,11,", f",10,12,9,{9.5 + n % 5 / 2},") for n, line in enumerate(lines(300))]
    write(tmp_path / "candles" / "BTCUSDT.csv", rows)
    done = clm(
        "backfill", "--store", empty, "--candles", tmp_path / "candles", "--features", "rsi,atr", "--json"
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["samples"] == count(empty) > 30
    assert told["candles"] == {"BTCUSDT": 300}
    with closing(sqlite3.connect(empty)) as connection:
        (names,) = connection.execute("SELECT DISTINCT feature_names FROM ai_training_samples").fetchone()
    assert json.loads(names) == ["rsi", "atr"]

    again = clm("backfill", "--store", empty, "--candles", tmp_path / "candles")
    assert again.returncode == 65
    assert "STORE_NOT_EMPTY" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--candles", "{}/absent"], 65, "CANDLES_MISSING"),
        (["--candles", "{}", "--features", "rsii"], 78, "FEATURE_UNKNOWN"),
        (["--candles", "{}", "--features", ","], 64, "is empty"),
        (["--candles", "{}", "--take-profit", "0"], 64, "take-profit"),
        (["--candles", "{}", "--side", "up"], 64, "side"),
        (["--candles", "{}", "--horizon", "5000"], 65, "CANDLES_TOO_FEW"),
        (["--candles", "{}/bad"], 65, "CANDLES_BAD"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    empty: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    """What, which object, why; and nothing is written."""
    write(tmp_path / "BTCUSDT.csv", lines(300))
    (tmp_path / "bad").mkdir()
    write(tmp_path / "bad" / "BTCUSDT.csv", [*lines(300), *["yesterday,1,1,1,1,1"] * 30], HEADER)
    done = clm("backfill", "--store", empty, *(argument.format(tmp_path) for argument in arguments))

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert count(empty) == 0
