"""Candle files to columns, in the forms in which exchanges and programs write them."""

import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR
from clm.data.candles.parsing import by_market
from clm.data.timestamps import UNREADABLE
from clm.errors import DataError
from clm.store.candle_tables import read_tables
from tests.data.candles.market import START

HEADER = "timestamp,open,high,low,close,volume"
ROW = "2025-11-03 00:00:00+00:00,10,12,9,11,5"


@pytest.fixture
def parsed(tmp_path):
    """Return the parts of a text as a file of this name."""

    def parse(text, name="BTCUSDT.csv"):
        path = tmp_path / name
        path.write_text(text)
        (raw,) = read_tables(path)
        parts, rejected = by_market(raw)
        whole = {
            market: replace(
                found[0],
                opened_at_T=np.concatenate([part.opened_at_T for part in found]),
                prices_TP=np.concatenate([part.prices_TP for part in found]),
            )
            for market, found in parts.items()
        }
        return whole, rejected

    return parse


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_tables(path))
    assert caught.value.code == "CANDLES_COLUMNS"
    return caught.value.message


@pytest.mark.parametrize(
    "stamp",
    [
        "2025-11-03 00:00:00+00:00",
        "2025-11-03T00:00:00Z",
        "2025-11-03 00:00:00",
        "2025-11-03 01:00:00+01:00",
        "2025-11-03 00:00",
    ],
)
def test_every_iso_form_is_the_same_moment(stamp, parsed):
    """Writers differ in T, Z and offsets."""
    parts, rejected = parsed(f"{HEADER}\n{stamp},10,12,9,11,5")

    assert parts["BTCUSDT"].opened_at_T.tolist() == [START]
    assert parts["BTCUSDT"].prices_TP.tolist() == [[10, 12, 9, 11, 5]]
    assert not rejected


@pytest.mark.parametrize(
    "stamp", ["", "11/03/2025 00:00", "yesterday", "2025-13-03 00:00:00", "1969-01-01 00:00:00"]
)
def test_a_time_that_is_none_is_marked(stamp, parsed):
    """A month first is a guess."""
    parts, _ = parsed(f"{HEADER}\n{stamp},10,12,9,11,5")

    assert parts["BTCUSDT"].opened_at_T.tolist() == [UNREADABLE]


@pytest.mark.parametrize("price", ["", "ten", "1_0", "nan", "0x10", "1,5", "10 USD"])
def test_a_price_that_is_none_is_nan(price, parsed):
    """NaN is what the checks refuse; 1_0 is Python's ten and nobody's price."""
    quoted = f'"{price}"'
    parts, _ = parsed(f"{HEADER}\n2025-11-03 00:00:00,{quoted},12,9,11,5")

    assert np.isnan(parts["BTCUSDT"].prices_TP[0, 0])


def test_columns_are_found_by_name_and_others_ignored(parsed):
    """Exports differ in order, case and extras."""
    text = "trades,Close,low,HIGH,open, timestamp ,volume,quote_volume\n7,11,9,12,10,2025-11-03 00:00:00,5,55"
    parts, _ = parsed(text)

    assert parts["BTCUSDT"].prices_TP.tolist() == [[10, 12, 9, 11, 5]]


def test_missing_columns_are_named(tmp_path):
    """A file of something else is refused by what it has and what it lacks."""
    (tmp_path / "BTCUSDT.csv").write_text("timestamp,open,price,aa,bb,cc\n1,2,3,4,5,6\n")
    message = refused(tmp_path / "BTCUSDT.csv")

    assert "lacks the columns high, low, close, volume" in message
    assert "it has timestamp, open, price" in message


def test_rows_of_another_length_are_counted(parsed):
    """A torn last line must not move prices into other columns."""
    parts, rejected = parsed(f"{HEADER}\n{ROW}\n\n2025-11-03 01:00:00,10,12\n{ROW},1")

    assert rejected == {"wrong_number_of_fields": 2}
    assert len(parts["BTCUSDT"].opened_at_T) == 1


def test_the_combined_file_is_taken_apart_by_symbol(parsed):
    """Each row goes to its own pair, a row of none is counted."""
    rows = "\n".join(
        f"2025-11-03 0{hour}:00:00,10,12,9,11,{hour},{symbol}"
        for hour, symbol in enumerate(
            ["BTCUSDT", "ethusdt ", "BTCUSDT", "", "ETHUSDT", "X" * 33, "BTC\tUSDT"]
        )
    )
    parts, rejected = parsed(f"{HEADER},symbol\n{rows}")

    assert sorted(parts) == ["BTCUSDT", "ETHUSDT"]
    assert parts["ETHUSDT"].opened_at_T.tolist() == [START + HOUR, START + 4 * HOUR]
    assert parts["BTCUSDT"].prices_TP[:, 4].tolist() == [0, 2]
    assert rejected == {"bad_symbol": 3}


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_and_every_row_is_counted(tmp_path_factory, text):
    """Whatever is in the directory, the reader answers."""
    lines = [HEADER, ROW, *text.replace('"', "'").replace("\r", "").replace("\0", "").split("\n")]
    path = tmp_path_factory.mktemp("any") / "BTCUSDT.csv"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace", newline="\n")
    (raw,) = read_tables(path)
    parts, rejected = by_market(raw)

    assert len(parts["BTCUSDT"][0].opened_at_T) + rejected.total() == sum(bool(line) for line in lines[1:])


MS = START // 1000
BINANCE = "{t},10,12,9,11,5,{end},55,7,2.5,27.5,0"
BINANCE_HEADER = "open_time,open,high,low,close,volume,close_time,quote,count,taker_buy,taker_quote,ignore"


def binance(unit: int = 1) -> str:
    return BINANCE.format(t=MS * unit, end=MS * unit + 3_600_000 * unit - 1)


FORMS = {
    "BTCUSDT-1h-2025-11.csv": binance(),
    "BTCUSDT-1h-2025-12.csv": binance(1000),
    "BTCUSDT-1h-2025-10.csv": f"{BINANCE_HEADER}\n{binance()}",
    "BTCUSDT_240329-1h.csv": f"{BINANCE_HEADER}\n{binance()}",
    "BTCUSDT_PERP-1h.csv": f"{HEADER}\n{ROW}",
    "XBTUSDT_60.csv": f"{START // 10**6},10,12,9,11,5,7",
    "Binance_BTCUSDT_1h.csv": "https://www.CryptoDataDownload.com\n"
    "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n"
    f"{MS},2025-11-03 00:00:00,BTC/USDT,10,12,9,11,5,55,7",
    "BTC-USD.csv": "Date,Open,High,Low,Close,Adj Close,Volume\n2025-11-03,10,12,9,11,10.9,5",
    "yfinance.csv": "Price,Close,High,Low,Open,Volume\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD\n"
    "Date,,,,,\n2025-11-03,11,12,9,10,5",
    "BTC_USDT-1h.json": f"[[{MS},10.0,12.0,9.0,11.0,5.0]]",
    "BTCUSDT.json": f'[{{"time":{MS},"o":10,"h":12,"l":9,"c":11,"v":5}}]',
    "BTCUSDT_1d.csv": "timestamp;open;high;low;close;volume\n2025-11-03 00:00:00;10;12;9;11;5",
}
MARKETS = {
    "BTCUSDT_240329-1h.csv": "BTCUSDT-240329",
    "BTCUSDT_PERP-1h.csv": "BTCUSDT-PERP",
    "XBTUSDT_60.csv": "XBTUSDT",
    "BTC-USD.csv": "BTCUSD",
    "yfinance.csv": "BTCUSD",
}


@pytest.mark.parametrize("name", FORMS)
def test_public_forms_are_read_as_they_are(name, parsed):
    """What everybody can download needs no conversion by hand."""
    parts, rejected = parsed(FORMS[name], name)

    assert list(parts) == [MARKETS.get(name, "BTCUSDT")]
    (part,) = parts.values()
    assert part.opened_at_T.tolist() == [START]
    assert part.prices_TP.tolist() == [[10, 12, 9, 11, 5]]
    assert not rejected


def test_an_archive_and_a_packed_file_are_their_contents(tmp_path):
    """Binance's archive is zipped by month."""
    with zipfile.ZipFile(tmp_path / "BTCUSDT-1h-2025-11.zip", "w") as archive:
        archive.writestr("BTCUSDT-1h-2025-11.csv", binance())
    (tmp_path / "BTC_USDT-1h.json.gz").write_bytes(gzip.compress(FORMS["BTC_USDT-1h.json"].encode()))
    for path in tmp_path.iterdir():
        (raw,) = read_tables(path)
        assert (raw.market, raw.opened_at_T.tolist()) == ("BTCUSDT", [START])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "timestamp,Close,Close,High,Low,Open,Volume",
            "names the column close more than once ('Close' and 'Close')",
        ),
        ("timestamp,open,high,low,close,Volume,volume", "more than once ('Volume' and 'volume')"),
        ("timestamp,open,high,low,close,Volume AAA,Volume BBB", "more than once"),
    ],
)
def test_a_column_that_is_named_twice_is_refused(tmp_path, header, message):
    """The last one would win in silence, and BTC would have the prices of ETH."""
    (tmp_path / "BTCUSD.csv").write_text(f"{header}\n2025-11-03,10,12,9,11,5,6\n")

    assert message in refused(tmp_path / "BTCUSD.csv")


def test_a_table_of_several_tickers_is_refused(tmp_path):
    """yfinance names each column once for each ticker."""
    (tmp_path / "all.csv").write_text(
        "Price,Close,Close,High,Low,Open,Volume\nTicker,BTC-USD,ETH-USD,,,,\nDate,,,,,,\n"
        "2025-11-03,1,2,3,4,5,6\n"
    )
    assert "several markets in columns of one name (BTC-USD, ETH-USD)" in refused(tmp_path / "all.csv")


def test_a_name_that_states_no_market_is_refused(tmp_path):
    """Its rows would belong to whatever the name begins with."""
    (tmp_path / "BTC_ETH_all.csv").write_text(f"{HEADER}\n{ROW}\n")

    assert "does not name one market" in refused(tmp_path / "BTC_ETH_all.csv")


def test_a_value_that_changes_its_type_late_is_one_bad_row(tmp_path):
    """A table is read by the type of its first values; one odd row must not cost the file."""
    rows = [f"{START // 1000 + hour * 3_600_000},10,12,9,11,5" for hour in range(60_000)]
    rows[50_000] = "soon,10,12,9,11,5"
    rows[50_001] = rows[50_001].replace(",5", ",many")
    (tmp_path / "BTCUSDT.csv").write_text(f"{HEADER}\n" + "\n".join(rows))
    (raw,) = read_tables(tmp_path / "BTCUSDT.csv")

    assert (raw.opened_at_T == UNREADABLE).sum() == 1
    assert np.isnan(raw.prices_TP).sum() == 1
    assert raw.examples == {"bad_timestamp": "'soon'", "bad_number": "volume 'many'"}
