"""Samples as columns before a training's cutoff and choice of features: blocks of rows of one layout.

A layout is the order in which rows name their features. What depends on the moment of a training, or on
the features it asks for, is decided later (`clm.data.reading.tabulate`), so that columns can be kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clm.domain.markets import market_of
from clm.domain.sample import Bytes8, Floats, Ints

Layout = tuple[str, ...]
Columns = Mapping[str, NDArray[Any]]

LABELLED, *UNLABELLED = ("", "open", "bad_exit_time", "bad_target_class")
WHY_UNLABELLED = (LABELLED, *UNLABELLED)
"""`Block.unlabelled_R` is a place in it; 0 is a row with a label."""

ODD_FIGURES: Mapping[int, str] = {1: "entry_price", 2: "exit_price", 4: "realized_pnl"}
"""Bits of `Block.odd_R`: figures that are there and are not numbers. They are unknown, and counted."""

FORMS: Mapping[str, str] = {
    "sample_id": "<i8",
    "symbol": "<i8",
    "decided_at": "<i8",
    "resolved_at": "<i8",
    "side": "<i1",
    "outcome": "<i1",
    "unlabelled": "<i1",
    "pnl": "<f8",
    "market_return": "<f8",
    "entry_price": "<f8",
    "odd": "<i1",
    "features": "<f8",
}
"""Columns of a block and how a value lies in memory; `features` has one value a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of one layout, ordered by (symbol, decided_at, sample_id)."""

    names: Layout
    whole: bool
    """Whether every value is usable. Else NaN stands for what is no number, an infinity for what is huge."""
    symbols: tuple[str, ...]
    """Sorted; `symbol_R` is a place in it."""
    sample_id_R: Ints
    symbol_R: Ints
    decided_at_R: Ints
    resolved_at_R: Ints
    side_R: Bytes8
    outcome_R: Bytes8
    unlabelled_R: Bytes8
    pnl_R: Floats
    market_return_R: Floats
    entry_price_R: Floats
    odd_R: Bytes8
    features_RC: Floats

    def __len__(self) -> int:
        return len(self.sample_id_R)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of FORMS."""
        return {name: getattr(self, field) for name, field in _FIELDS.items()}

    def take(self, rows: NDArray[Any]) -> "Block":
        """Return some of the rows; `rows` must keep their order."""
        kept = {name: array[rows] for name, array in self.columns().items()}
        return block_of(kept, names=self.names, whole=self.whole, symbols=self.symbols)


class Reject(NamedTuple):
    """A row that cannot be used whatever is asked for."""

    sample_id: object
    decided_at: int | None
    """None where the time cannot be read."""
    reason: str
    value: str = ""
    """The value that cannot be used, as it is shown in a message."""

    def reason_at(self, cutoff: int) -> str:
        """Return why the row is left out of a training with this cutoff."""
        ahead = self.decided_at is not None and self.decided_at > cutoff
        return "future" if ahead and self.reason not in ("bad_id", "bad_symbol") else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleColumns:
    """All rows of a read."""

    blocks: tuple[Block, ...]
    rejects: tuple[Reject, ...]
    examples: Mapping[str, str] = field(default_factory=dict)
    """One value for each reason why a row that was read has no label or lacks a figure."""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Symbols of these rows that are written in several ways, or not by their one name, and how."""

    @property
    def rows_read(self) -> int:
        """Rows that were read, used or not."""
        return sum(map(len, self.blocks)) + len(self.rejects)

    @property
    def last_id(self) -> int | None:
        """Largest id of a row that was read, used or not; None for no rows."""
        ids = [int(block.sample_id_R.max()) for block in self.blocks if len(block)]
        ids += [reject.sample_id for reject in self.rejects if isinstance(reject.sample_id, int)]
        return max(ids, default=None)


_FIELDS = {name: f"{name}_RC" if name == "features" else f"{name}_R" for name in FORMS}


def block_of(columns: Columns, *, names: Layout, whole: bool, symbols: tuple[str, ...]) -> Block:
    """Return a block of columns that already are in order."""
    fields = {_FIELDS[name]: array for name, array in columns.items()}
    return Block(names=names, whole=whole, symbols=symbols, **fields)


class Gathering:
    """Takes columns piece by piece and gives blocks; memory grows with the rows, never twice."""

    def __init__(self, expected_rows: int = 0) -> None:
        self.rejects: list[Reject] = []
        self.passed_over = 0
        """Rows that were looked at and lie before the window."""
        self._expected = expected_rows
        self.examples: dict[str, str] = {}
        """One value for each reason why a row has no label or lacks a figure."""
        self._codes: dict[bytes, int] = {}
        self._symbols: list[str] = []
        self._parts: dict[tuple[Layout, bool], _Part] = {}

    def __len__(self) -> int:
        return sum(part.rows for part in self._parts.values()) + len(self.rejects)

    def symbol_codes(self, texts: Sequence[bytes]) -> list[int] | None:
        """Return a code a text, None where one of them is no name."""
        codes = list(map(self._codes.get, texts))
        if None in codes:
            for text in dict.fromkeys(texts):
                if text not in self._codes and not self._learn(text):
                    return None
            codes = list(map(self._codes.get, texts))
        return codes  # type: ignore[return-value]  # all are known now

    def add(self, names: Layout, columns: Columns, *, whole: bool) -> None:
        """Append rows; `symbol` holds what symbol_codes returned."""
        key = (names, whole)
        if key not in self._parts:
            # Pages that are never written cost nothing, so the first layout gets room for all rows.
            room = max(len(columns["sample_id"]), 0 if self._parts else self._expected)
            self._parts[key] = _Part(len(names), room)
        self._parts[key].append(columns)

    def finish(self) -> SampleColumns:
        """Return everything as ordered blocks; what was gathered is handed over and gone."""
        symbols = tuple(sorted(self._symbols))
        place_of = {symbol: place for place, symbol in enumerate(symbols)}
        places = np.array([place_of[symbol] for symbol in self._symbols], dtype=np.int64)
        blocks = []
        while self._parts:
            (names, whole), part = self._parts.popitem()
            blocks.append(block_of(part.sorted(places), names=names, whole=whole, symbols=symbols))
        return SampleColumns(
            blocks=tuple(reversed(blocks)),
            rejects=tuple(self.rejects),
            examples=self.examples,
            spellings=self._spellings(),
        )

    def _learn(self, text: bytes) -> bool:
        try:
            name = text.decode()
        except UnicodeDecodeError:
            return False
        symbol = market_of(name) or name
        if symbol and symbol not in self._symbols:
            self._symbols.append(symbol)
        if symbol:
            self._codes[text] = self._symbols.index(symbol)
        return bool(symbol)

    def _spellings(self) -> dict[str, tuple[str, ...]]:
        spelled: dict[str, list[str]] = {}
        for text, code in self._codes.items():
            spelled.setdefault(self._symbols[code], []).append(text.decode())
        return {
            symbol: tuple(sorted(names)) for symbol, names in sorted(spelled.items()) if names != [symbol]
        }


class _Part:
    """Growing columns of one layout."""

    def __init__(self, width: int, room: int) -> None:
        self.rows = 0
        self._columns = {
            name: np.empty((room, width) if name == "features" else room, dtype=form)
            for name, form in FORMS.items()
        }

    def append(self, columns: Columns) -> None:
        end = self.rows + len(columns["sample_id"])
        room = len(self._columns["sample_id"])
        for name, array in self._columns.items():
            if end > room:
                array.resize((max(end, room + room // 2), *array.shape[1:]), refcheck=False)
            array[self.rows : end] = columns[name]
        self.rows = end

    def sorted(self, places: Ints) -> dict[str, NDArray[Any]]:
        """Return the columns in order; one at a time is held twice."""
        for array in self._columns.values():
            array.resize((self.rows, *array.shape[1:]), refcheck=False)
        held = self._columns
        held["symbol"] = places[held["symbol"]] if self.rows else held["symbol"]
        order = ordered(held["symbol"], held["decided_at"], held["sample_id"])
        if order is not None:
            for name in FORMS:
                held[name] = held[name][order]
        return held


def ordered(symbol_R: Ints, decided_at_R: Ints, sample_id_R: Ints) -> Ints | None:
    """Return the order by (symbol, decided_at, sample_id), None where rows already lie in it."""
    if _in_order(symbol_R, decided_at_R, sample_id_R):
        return None
    if len(symbol_R) and int(symbol_R.max()) < 2**16:
        # By id, a symbol's rows mostly follow time: then a sort by symbol is all, and that takes linear time.
        order = np.argsort(symbol_R.astype(np.uint16), kind="stable")
        if _in_order(symbol_R[order], decided_at_R[order], sample_id_R[order]):
            return order
    return np.lexsort((sample_id_R, decided_at_R, symbol_R))


def _in_order(symbol_R: Ints, decided_at_R: Ints, sample_id_R: Ints) -> bool:
    later = sample_id_R[1:] > sample_id_R[:-1]
    for key in (decided_at_R, symbol_R):
        later = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & later)
    return bool(later.all())


def merged(blocks: Iterable[Block], width: int) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the rows of all blocks, each with `width` features, in one order, and their symbols.

    A single block is returned as it is; a few rows are merged into many without a sort.
    """
    held = sorted((block for block in blocks if len(block)), key=len, reverse=True)
    symbols = tuple(sorted(set().union(*(block.symbols for block in held))))
    parts = [_recoded(block, symbols) for block in held]
    if not parts:
        shapes = {name: (0, width) if name == "features" else (0,) for name in FORMS}
        return {name: np.empty(shapes[name], dtype=form) for name, form in FORMS.items()}, ()
    if len(parts) == 1:
        return parts[0], symbols
    great, small = parts[0], _joined(parts[1:])
    if 8 * len(small["sample_id"]) > len(great["sample_id"]):
        return _joined([great, small]), symbols
    return _put_between(great, small), symbols


def merged_block(blocks: Sequence[Block]) -> Block:
    """Return blocks of the same layout as one."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    rows, symbols = merged(blocks, len(first.names))
    return block_of(rows, names=first.names, whole=first.whole, symbols=symbols)


def _recoded(block: Block, symbols: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    columns = block.columns()
    if block.symbols != symbols:
        place_of = {symbol: place for place, symbol in enumerate(symbols)}
        places = np.array([place_of[symbol] for symbol in block.symbols], dtype=np.int64)
        columns["symbol"] = places[block.symbol_R]
    return columns


def _joined(parts: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    both = {name: np.concatenate([part[name] for part in parts]) for name in FORMS}
    order = ordered(both["symbol"], both["decided_at"], both["sample_id"])
    return both if order is None else {name: array[order] for name, array in both.items()}


def _put_between(great: Columns, small: Columns) -> dict[str, NDArray[Any]]:
    """Return `small` merged into `great`, both in order, by copying runs of rows."""
    before = _places_in(great, small)
    bounds = np.flatnonzero(np.diff(before)) + 1
    starts = [0, *bounds.tolist(), len(before)]
    out = {}
    for name in FORMS:
        runs, at = [], 0
        for start, stop in pairwise(starts):
            runs += [great[name][at : before[start]], small[name][start:stop]]
            at = before[start]
        runs.append(great[name][at:])
        out[name] = np.concatenate(runs)
    return out


def _places_in(great: Columns, small: Columns) -> Ints:
    """Return for each row of `small` how many rows of `great` come before it."""
    before = np.empty(len(small["symbol"]), dtype=np.int64)
    for symbol in np.unique(small["symbol"]):
        mine = slice(*np.searchsorted(small["symbol"], (symbol, symbol + 1)))
        theirs = slice(*np.searchsorted(great["symbol"], (symbol, symbol + 1)))
        moments = small["decided_at"][mine]
        first = np.searchsorted(great["decided_at"][theirs], moments, side="left")
        last = np.searchsorted(great["decided_at"][theirs], moments, side="right")
        ids = great["sample_id"][theirs]
        for tie in np.flatnonzero(first < last):
            among = ids[first[tie] : last[tie]]
            first[tie] += np.searchsorted(among, small["sample_id"][mine][tie])
        before[mine] = first + theirs.start
    return before
