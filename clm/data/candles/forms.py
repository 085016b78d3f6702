"""The columns of a candle file, in the forms in which people have them.

A header may name columns as exchanges and libraries do, in any case. A column that could be meant by two
names is refused: nothing says which of the two is right.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clm.data.timestamps import parse_micros

PRICES = ("open", "high", "low", "close", "volume")
REQUIRED = ("timestamp", *PRICES)

_NAMES: Mapping[str, Sequence[str]] = {
    "timestamp": [
        "timestamp",
        "open_time",
        "opentime",
        "unix",
        "unix_timestamp",
        "ts",
        "time",
        "datetime",
        "date_time",
        "date",
        "start",
        "start_time",
        "begin",
        "gmt_time",
        "candle_begin_time",
    ],
    "open": ["open", "o", "open_price"],
    "high": ["high", "h", "high_price"],
    "low": ["low", "l", "low_price"],
    "close": ["close", "c", "close_price"],
    "volume": ["volume", "vol", "v", "base_volume", "volume_base"],
    "symbol": ["symbol", "ticker", "pair", "market", "instrument"],
}
"""Names of each column, the preferred one first; a file may have a time both as a number and as a date."""
_OF_A_CURRENCY = re.compile(r"volume_\(?([a-z0-9]{2,6})\)?")

_WITHOUT_HEADER: Mapping[int, str] = {
    6: "time, open, high, low, close, volume",
    7: "Kraken's: time, open, high, low, close, volume, trades",
    12: "Binance's archive: open time, open, high, low, close, volume, close time, quote volume, ...",
}
"""Numbers of columns that a file without a header may have; the first six are always REQUIRED in order."""
_MOST_LINES_BEFORE_HEADER = 5
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Where the columns of a text file are."""

    delimiter: str
    lines_before: int
    """Lines before the first candle, the header included."""
    n_columns: int
    place_of: Mapping[str, int]
    """Columns of REQUIRED, and `symbol` where there is one."""
    ticker: str = ""
    """The market that the header names, if it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Why a file's columns are not those of candles."""

    reason: str


def form_of(lines: Sequence[str], market: str) -> Form | Misfit:
    """Return the form of a text file from its first lines; `market` is what its name states."""
    for before, line in enumerate(lines[: _MOST_LINES_BEFORE_HEADER + 1]):
        delimiter = max(_DELIMITERS, key=line.count)
        cells = [cell.strip().strip('"') for cell in line.split(delimiter)]
        if len(cells) < len(REQUIRED) or cells[0].lower().startswith("http"):
            continue  # a title, or the address of the site
        if _is_candle(cells):
            return _headerless(cells, delimiter, before)
        if cells[0].lower() == "price" and len(lines) > before + 2:
            return _of_tickers(cells, lines[before + 1].split(delimiter), before)
        found = columns_of(cells, market)
        if isinstance(found, Misfit):
            return found
        return Form(delimiter=delimiter, lines_before=before + 1, n_columns=len(cells), place_of=found)
    first = lines[0] if lines else ""
    return Misfit(reason=f"has no line with {len(REQUIRED)} columns or more; it begins {first!r:.60}")


def columns_of(header: Sequence[str], market: str) -> Mapping[str, int] | Misfit:
    """Return the place of each column of REQUIRED, and of `symbol`; or why they are not clear."""
    names = [re.sub(r"[ -]+", "_", name.strip().strip("<>").lower()) for name in header]
    place_of: dict[str, int] = {}
    for column, known in _NAMES.items():
        name = next((name for name in known if name in names), "")
        places = [place for place, given in enumerate(names) if given == name]
        if not places and column == "volume":
            places = _volumes(names, market)
        if len(places) > 1:
            twice = " and ".join(repr(header[place]) for place in places)
            return Misfit(reason=f"names the column {column} more than once ({twice})")
        if places:
            place_of[column] = places[0]
    if missing := [column for column in REQUIRED if column not in place_of]:
        shown = ", ".join(name.strip()[:24] for name in header[:12])
        return Misfit(reason=f"lacks the columns {', '.join(missing)}; it has {shown}")
    return place_of


def _volumes(names: Sequence[str], market: str) -> list[int]:
    """Return the places of volumes in the base currency (`Volume BTC`), or of all where that is unclear."""
    of = {
        place: found[1].upper()
        for place, name in enumerate(names)
        if (found := _OF_A_CURRENCY.fullmatch(name))
    }
    base = [place for place, currency in of.items() if market.startswith(currency)]
    return base if len(base) == 1 else list(of)


def _is_candle(cells: Sequence[str]) -> bool:
    return parse_micros(cells[0]) is not None and all(_is_number(cell) for cell in cells[1 : len(REQUIRED)])


def _headerless(cells: Sequence[str], delimiter: str, before: int) -> Form | Misfit:
    if len(cells) not in _WITHOUT_HEADER:
        known = "; ".join(f"{n} ({what})" for n, what in _WITHOUT_HEADER.items())
        return Misfit(reason=f"has no header and {len(cells)} columns; known without a header are {known}")
    return Form(
        delimiter=delimiter,
        lines_before=before,
        n_columns=len(cells),
        place_of={name: place for place, name in enumerate(REQUIRED)},
    )


def _of_tickers(header: Sequence[str], tickers: Sequence[str], before: int) -> Form | Misfit:
    """Return the form of yfinance's table: three lines of header, the second one names the market."""
    named = {ticker.strip() for ticker in tickers[1:] if ticker.strip()}
    if len(named) != 1:
        return Misfit(reason=f"holds several markets in columns of one name ({', '.join(sorted(named)):.80})")
    found = columns_of(["date", *header[1:]], "")
    if isinstance(found, Misfit):
        return found
    return Form(
        delimiter=",", lines_before=before + 3, n_columns=len(header), place_of=found, ticker=named.pop()
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
