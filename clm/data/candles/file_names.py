"""The market that a candle file's name states, in the forms in which exchanges and programs name their files.

Binance's archive `BTCUSDT-1h-2024-12.zip`, CryptoDataDownload `Binance_BTCUSDT_1h.csv`, freqtrade
`BTC_USDT-1h.feather` and `BTC_USDT_USDT-1h-futures.feather`, Yahoo `BTC-USD.csv`, and `BTCUSDT.csv`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clm.domain.markets import market_of

_EXCHANGES = frozenset(
    [
        "binance",
        "binanceus",
        "binanceusdm",
        "bitfinex",
        "bitget",
        "bitmex",
        "bitstamp",
        "bittrex",
        "bybit",
        "cexio",
        "coinbase",
        "cryptocom",
        "deribit",
        "ftx",
        "gateio",
        "gemini",
        "huobi",
        "kraken",
        "kucoin",
        "mexc",
        "okcoin",
        "okex",
        "okx",
        "poloniex",
        "yahoo",
    ]
)
_INTERVAL = re.compile(
    r"\d+(s|sec|m|min|minute|h|hour|d|day|w|week|mo|month)s?|minute|hour|hourly|day|daily|d|h"
)
_DATE = re.compile(r"\d{1,4}|\d{6}|\d{8}|\d{10,14}")
_CONTRACTS = ("perp", "perpetual", "swap")
_SPOT = ("spot", "klines", "ohlcv", "ohlc", "candles", "history")
_OTHER_PRICES = (
    "mark",
    "index",
    "premium_index",
    "premiumindex",
    "funding_rate",
    "funding",
    "trades",
    "aggtrades",
)
_SIGNS = re.compile(r"[-_ ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """What a file's name states."""

    market: str
    """The market's one name; "" where the name states none, or more than one."""
    written: str = ""
    """The market as the name writes it."""
    other_prices: bool = False
    """Whether the file holds mark prices, funding rates or trades: not candles of the market."""


def read_file_name(name: str) -> FileName:
    """Return what a file's name states; its endings (`.csv.gz`) do not matter."""
    stem = re.sub(r"(?i)(\.(csv|gz|zip|json|feather|parquet|txt))+$", "", name)
    words = [word for word in _SIGNS.split(stem) if word]
    other = any(word.lower() in _OTHER_PRICES for word in words) or "funding_rate" in stem.lower()
    if len(words) > 1 and words[0].lower() in _EXCHANGES:
        words = words[1:]
    named, rest = _until_interval(words)
    named = [word for word in named if word.lower() not in _SPOT]
    contract = [word for word in (*named, *rest) if word.lower() in (*_CONTRACTS, "futures")]
    pair = [word for word in named if word not in contract]
    market = _market(pair)
    if market and contract and "-" not in market:
        market = market_of(f"{market}_PERP")
    return FileName(market=market, written="_".join(pair), other_prices=other)


def _until_interval(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before the interval or the year, and the rest."""
    for place, word in enumerate(words):
        if place and (_INTERVAL.fullmatch(word.lower()) or _is_date(words, place)):
            return list(words[:place]), list(words[place:])
    return list(words), []


def _is_date(words: Sequence[str], place: int) -> bool:
    """Return whether this word begins a date; six digits after a pair are the expiry of a future."""
    return bool(_DATE.fullmatch(words[place])) and len(words[place]) != len("250328")


def _market(pair: Sequence[str]) -> str:
    """Return the market of one, two or three words: a name, base and quote, base and quote and settlement."""
    if len(pair) == 1 or (len(pair) == 2 and (pair[1].isalpha() or pair[1].isdigit())):
        return market_of("_".join(pair))
    if len(pair) == 3 and pair[1].upper() == pair[2].upper():
        return market_of(f"{pair[0]}/{pair[1]}:{pair[2]}")
    return ""
