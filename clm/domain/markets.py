"""Names of markets as people write them, to one name: `BTC/USDT`, `btc-usdt` and `BTCUSDT` are BTCUSDT.

A perpetual is not its spot: `BTC/USDT:USDT` and `BTCUSDT_PERP` are BTCUSDT-PERP. A future with a date keeps
it: `BTCUSDT_250328` is BTCUSDT-250328.
"""

import re

MOST_CHARACTERS = 32
"""Characters of a market's name at most."""
PERPETUAL = "-PERP"

_PERPETUAL_ENDINGS = ("PERPETUAL", "PERP", "SWAP")
_NAME = re.compile(r"[A-Z0-9^$#!=&+.:/_ -]*[A-Z0-9][A-Z0-9^$#!=&+.:/_ -]*")
_BETWEEN = re.compile(r"[-_/ ]")
_CONTRACT = re.compile(r"(?P<market>.+?)[-_ ](?P<ending>PERPETUAL|PERP|SWAP|\d{6}|\d{8})")
_SETTLED = re.compile(r"(?P<market>[^:]+):(?P<settlement>[A-Z0-9]+)(?:-(?P<expiry>\d{6}))?")


def market_of(text: str) -> str:
    """Return the one name of a market, "" for text that cannot name one.

    Forms: base and quote with `/`, `-`, `_`, a blank or nothing between them, in any case; ccxt's contracts
    (`BTC/USDT:USDT`, `BTC/USDT:USDT-250328`), Binance's (`BTCUSD_PERP`, `BTCUSDT_250328`), TradingView's
    (`BTCUSDT.P`), OKX's (`BTC-USDT-SWAP`). Any other name of these characters stays as it is.
    """
    name = text.strip(" ").upper()
    if len(name) > MOST_CHARACTERS or not _NAME.fullmatch(name):
        return ""
    if settled := _SETTLED.fullmatch(name):
        expiry = settled["expiry"]
        return _joined(settled["market"]) + (f"-{expiry}" if expiry else PERPETUAL)
    if name.endswith(".P") and len(name) > len(".P"):
        return _joined(name.removesuffix(".P")) + PERPETUAL
    if contract := _CONTRACT.fullmatch(name):
        ending = contract["ending"]
        return _joined(contract["market"]) + (PERPETUAL if ending in _PERPETUAL_ENDINGS else f"-{ending}")
    return _joined(name)


def spot_of(market: str) -> str:
    """Return the market without its contract, to find what is nearly the same name."""
    return market.removesuffix(PERPETUAL)


def _joined(pair: str) -> str:
    return _BETWEEN.sub("", pair) or pair
