"""Candles from a directory of files."""

import gzip
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from clm.clock import HOUR, SystemClock, from_micros
from clm.errors import DataError
from clm.store.candle_files import CandleDirectory
from tests.data.candles.market import START

SHARED = Path(__file__).parents[3] / "shared" / "data" / "candles_1h"
HEADER = "timestamp,open,high,low,close,volume"


def lines(n=30, *, interval=HOUR, suffix="", first=0):
    return [
        f"{from_micros(START + number * interval):%Y-%m-%d %H:%M:%S}+00:00,10,12,9,11,{number}{suffix}"
        for number in range(first, first + n)
    ]


def write(path: Path, rows: list[str], header: str = HEADER) -> None:
    data = "\n".join([header, *rows]).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)


def refused(directory: Path, code: str) -> str:
    with pytest.raises(DataError) as caught:
        CandleDirectory(directory).read()
    assert caught.value.code == code
    return caught.value.message


def test_plain_and_packed_files_of_one_symbol_each(tmp_path: Path) -> None:
    """The symbol stands in the file's name."""
    write(tmp_path / "BTCUSDT.csv", lines())
    write(tmp_path / "ETHUSDT_1h.csv.gz", lines(20))
    (tmp_path / "README.md").write_text("no candles")
    found = CandleDirectory(tmp_path).read()

    assert [(one.symbol, len(one), one.interval) for one in found.series] == [
        ("BTCUSDT", 30, HOUR),
        ("ETHUSDT", 20, HOUR),
    ]
    assert (found.rows_read, found.rejected) == (50, {})
    assert found.series[0].volume_T.tolist() == list(range(30))


def test_the_combined_file_and_files_that_continue_each_other(tmp_path: Path) -> None:
    """Downloads come by month, exports with everything in one."""
    write(tmp_path / "all.csv", [*lines(suffix=",BTCUSDT"), *lines(suffix=",SOLUSDT")], HEADER + ",symbol")
    write(tmp_path / "BTCUSDT-2.csv", lines(20, first=30))
    found = CandleDirectory(tmp_path).read()

    assert [(one.symbol, len(one)) for one in found.series] == [("BTCUSDT", 50), ("SOLUSDT", 30)]
    assert found.reports[0].gaps == 0


def test_what_is_wrong_is_counted_over_all_files(tmp_path: Path) -> None:
    """Nothing falls under the table."""
    rows = lines()
    rows[3], rows[4] = rows[3].replace(",12,", ",8,"), "torn,1"
    write(tmp_path / "BTCUSDT.csv", rows)
    found = CandleDirectory(tmp_path).read()

    assert found.rejected == {"impossible_prices": 1, "wrong_number_of_fields": 1}
    assert found.rows_read == 30
    assert (found.reports[0].gaps, found.reports[0].missing) == (1, 2)


def test_the_candle_that_ran_when_its_file_was_written_is_left_out(tmp_path: Path) -> None:
    """The file's modification time decides, however late the file is read."""
    write(tmp_path / "BTCUSDT.csv", lines())
    written = (START + 29 * HOUR + HOUR // 2) / 1e6
    os.utime(tmp_path / "BTCUSDT.csv", (written, written))

    assert CandleDirectory(tmp_path).read().rejected == {"still_open": 1}


def test_the_candle_that_runs_now_is_left_out(tmp_path: Path) -> None:
    """It is not closed yet."""

    class Then(SystemClock):
        def now(self):
            return from_micros(START) + timedelta(hours=29, minutes=59)

    write(tmp_path / "BTCUSDT.csv", lines())

    assert CandleDirectory(tmp_path, Then()).read().rejected == {"still_open": 1}


def test_several_intervals_in_one_directory_are_refused(tmp_path: Path) -> None:
    """A window of hours for one symbol and of minutes for the other is no feature of anything."""
    write(tmp_path / "BTCUSDT.csv", lines())
    write(tmp_path / "ETHUSDT.csv", lines(interval=HOUR // 4))

    assert "3600 s for BTCUSDT in BTCUSDT.csv; 900 s for ETHUSDT" in refused(
        tmp_path, "CANDLES_MIXED_INTERVALS"
    )


def test_a_directory_without_candles_is_said(tmp_path: Path) -> None:
    """Missing and empty are two sentences of one code."""
    assert "cannot be listed" in refused(tmp_path / "absent", "CANDLES_MISSING")
    assert "holds no .csv" in refused(tmp_path, "CANDLES_MISSING")


def test_a_file_of_something_else_is_said_by_name(tmp_path: Path) -> None:
    """Left out in silence it would be missed by nobody."""
    write(tmp_path / "orders.csv", ["1,2,3,4,5,6"], "price,timestamp,aa,bb,cc,dd")

    assert "orders.csv lacks the columns open, high, low, close, volume" in refused(
        tmp_path, "CANDLES_COLUMNS"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not packed"),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(gzip.compress(b"timestamp,\xff\xfe")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["not-packed", "torn", "not-text", "directory"],
)
def test_a_file_that_cannot_be_read_is_said_by_name(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """A torn download must not shorten the market in silence."""
    path = tmp_path / "BTCUSDT.csv.gz"
    write(path, lines())
    spoil(path)

    assert "BTCUSDT.csv.gz cannot be read" in refused(tmp_path, "CANDLES_UNREADABLE")


class TestParquet:
    def test_it_is_read_like_the_csv_of_the_same_candles(self, tmp_path: Path) -> None:
        """Text and timestamps, whole numbers and missing ones."""
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        (tmp_path / "csv").mkdir()
        rows = lines()
        rows[5] = rows[5].replace(",10,", ",,")
        write(tmp_path / "csv" / "BTCUSDT.csv", rows)
        cells = [row.split(",") for row in rows]
        moments = [from_micros(START + number * HOUR) for number in range(30)]
        for kind in ("us", "ns", None):
            stamps = arrow.array(moments, arrow.timestamp(kind, "UTC")) if kind else [row[0] for row in cells]
            columns = {"timestamp": stamps, "Volume": [int(row[5]) for row in cells], "extra": [1] * 30}
            for place, name in enumerate(("open", "high", "low", "close"), start=1):
                columns[name] = [float(row[place]) if row[place] else None for row in cells]
            (tmp_path / str(kind)).mkdir()
            parquet.write_table(arrow.table(columns), tmp_path / str(kind) / "BTCUSDT.parquet")

            wanted, got = (CandleDirectory(tmp_path / name).read() for name in ("csv", str(kind)))
            assert got.reports == wanted.reports
            assert got.rejected == {"bad_number": 1}
            for name in ("opened_at_T", "close_T", "volume_T"):
                np.testing.assert_array_equal(getattr(got.series[0], name), getattr(wanted.series[0], name))

    @pytest.mark.parametrize("data", [b"PAR1", b"", b"PAR1" + b"\0" * 50 + b"PAR1"])
    def test_a_torn_file_is_said_by_name(self, tmp_path: Path, data: bytes) -> None:
        """Like any other."""
        pytest.importorskip("pyarrow")
        (tmp_path / "BTCUSDT.parquet").write_bytes(data)

        assert "BTCUSDT.parquet cannot be read" in refused(tmp_path, "CANDLES_UNREADABLE")

    def test_other_columns_are_said(self, tmp_path: Path) -> None:
        """Like those of a CSV."""
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table({"price": [1.0]}), tmp_path / "x.parquet")

        assert "lacks the columns timestamp" in refused(tmp_path, "CANDLES_COLUMNS")


@pytest.mark.needs_shared_data
def test_the_real_candles_are_whole_and_quickly_read() -> None:
    """75,000 rows; the bound is loose, the machine may be busy."""
    clock = SystemClock()
    began = clock.monotonic()
    found = CandleDirectory(SHARED).read()

    assert clock.monotonic() - began < 10
    assert [(report.candles, report.gaps, report.rejected) for report in found.reports] == [
        (14_999, 0, {})
    ] * 5
