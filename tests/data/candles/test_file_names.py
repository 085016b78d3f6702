"""The market that a file's name states."""

import pytest

from clm.data.candles.file_names import read_file_name


@pytest.mark.parametrize(
    ("name", "market"),
    [
        ("BTCUSDT.csv", "BTCUSDT"),
        ("BTCUSDT.csv.gz", "BTCUSDT"),
        ("ethusdt_1h.csv", "ETHUSDT"),
        ("BTCUSDT-2.csv", "BTCUSDT"),
        ("BTCUSDT-1h-2024-01.parquet", "BTCUSDT"),
        ("BTCUSDT-1h-2024-12.zip", "BTCUSDT"),
        ("BTCUSDT-1h-2024-12-31.csv", "BTCUSDT"),
        ("BTCUSD_PERP-1h-2024-01.zip", "BTCUSD-PERP"),
        ("BTCUSDT_240329-1h-2024-01.zip", "BTCUSDT-240329"),
        ("Binance_BTCUSDT_1h.csv", "BTCUSDT"),
        ("Binance_ETHUSDT_2024_minute.csv", "ETHUSDT"),
        ("gemini_BTCUSD_2019_1min.csv", "BTCUSD"),
        ("Bitstamp_ETHUSD_d.csv", "ETHUSD"),
        ("BTC_USDT-1h.feather", "BTCUSDT"),
        ("BTC_USDT_USDT-1h-futures.feather", "BTCUSDT-PERP"),
        ("BTC_EUR-1h.json", "BTCEUR"),
        ("BTC-USD.csv", "BTCUSD"),
        ("BTCUSDT_PERP-1h.csv", "BTCUSDT-PERP"),
        ("AAPL.csv", "AAPL"),
        ("1000PEPEUSDT-1h.csv", "1000PEPEUSDT"),
        ("BTC_ETH_SOL-1h.csv", ""),
        ("BTC_USDT_EUR.csv", ""),
    ],
)
def test_the_market_is_read_from_the_whole_pair(name: str, market: str) -> None:
    """Up to the first sign, BTC_USDT and BTC_EUR would be one market."""
    assert read_file_name(name).market == market


@pytest.mark.parametrize(
    "name",
    ["BTC_USDT_USDT-8h-mark.feather", "BTC_USDT_USDT-8h-funding_rate.feather", "BTC_USDT-trades.feather"],
)
def test_other_prices_of_a_market_are_not_its_candles(name: str) -> None:
    """freqtrade keeps them in the same directory."""
    assert read_file_name(name).other_prices
