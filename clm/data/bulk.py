"""Parse many rows at once from columns joined to texts; if a row is doubtful, parse none.

This is only a fast path. Rows with any doubtful value are left to `clm.data.rows`, which decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from clm.data.columns import WHY_UNLABELLED, Gathering
from clm.data.features import MAX_TEXT_BYTES, read_joined
from clm.data.rows import example
from clm.data.timestamps import UNREADABLE, parse_joined
from clm.domain.sample import UNRESOLVED, Floats, Ints

UNKNOWN = float("inf")
"""Stands for NULL among the figures of a JoinedRows."""
ODD = 64.0
"""Added to a code if a value must be examined individually."""

_FIGURES = 5
_SIDE = np.array([0, 1, -1, 0], dtype=np.int8)
_OUTCOME = np.array([0, 1, -1, 0], dtype=np.int8)
_HAS_OUTCOME = np.array([False, True, True, True])
_OPEN, _BAD_EXIT_TIME, _BAD_TARGET_CLASS = map(
    WHY_UNLABELLED.index, ("open", "bad_exit_time", "bad_target_class")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRows:
    """Rows of one snapshot, their texts joined by commas, all in the same order; NULL is the empty text."""

    count: int
    ids: bytes
    symbols: bytes
    timestamps: bytes
    exit_times: bytes
    features: bytes
    least_features: object
    """First and last text in byte order; all others are between them."""
    greatest_features: object
    longest_features: int
    """Bytes of the longest text, 0 if not measured."""
    names_counted: int
    """Number of rows with feature_names."""
    least_names: object
    greatest_names: object
    figures: Sequence[object]
    """Five a row, one row after the other: id, entry price, exit price, profit and code; UNKNOWN for NULL.

    The code is side (BUY 1, SELL 2) + 4 x class (WIN 1, LOSS 2, NEUTRAL 3) + 16 x outcome known.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """Valid ids, times and figures of R rows; a missing exit is UNREADABLE."""

    id_R: Ints
    figures_RF: Floats
    decided_at_R: Ints
    exit_R: Ints


def read_joined_rows(joined: JoinedRows, gathering: Gathering, *, since: int | None = None) -> bool:
    """Add all rows to `gathering` and return True; if one is doubtful, add none and return False."""
    count = joined.count
    numbers = _numbers(joined)
    if numbers is None or not _features_alike(joined):
        return False
    document = read_joined(joined.features, count, joined.least_names)
    if document is None:
        return False
    names, values_RC = document
    each = joined.symbols.split(b",")
    symbols = gathering.symbol_codes(each) if len(each) == count else None
    if symbols is None:
        return False
    decided_at_R = numbers.decided_at_R
    columns = {
        "sample_id": numbers.id_R,
        "symbol": np.array(symbols, dtype=np.int64),
        "decided_at": decided_at_R,
        **_outcomes(numbers),
        "features": values_RC,
    }
    _keep_example(joined, columns["unlabelled"] == _BAD_EXIT_TIME, gathering)
    if since is not None and (decided_at_R < since).any():
        in_window_R = decided_at_R >= since
        gathering.passed_over += count - int(in_window_R.sum())
        columns = {name: column[in_window_R] for name, column in columns.items()}
    gathering.add(names, columns, whole=True)
    return True


def _keep_example(joined: JoinedRows, bad_R: NDArray[np.bool_], gathering: Gathering) -> None:
    """Keep one exit time that cannot be read; NULL is the empty text here."""
    if bad_R.any() and "bad_exit_time" not in gathering.examples:
        text = joined.exit_times.split(b",")[int(np.flatnonzero(bad_R)[0])]
        gathering.examples["bad_exit_time"] = example(text.decode(errors="replace") or None)


def _numbers(joined: JoinedRows) -> _Numbers | None:
    """Return the numeric columns, or None if a row has an odd value or ends before its decision."""
    count = joined.count
    texts: tuple[object, ...] = (
        joined.ids, joined.symbols, joined.timestamps, joined.exit_times, joined.features
    )  # fmt: skip
    if not all(type(text) is bytes for text in texts) or len(joined.figures) != count * _FIGURES:
        return None
    id_R, figures_RF = _whole_numbers(joined.ids, count), _figures(joined)
    # Ids come by both ways: if the two aggregates had different orders, rows would be mixed up.
    if id_R is None or figures_RF is None or (figures_RF[:, 0] != id_R).any():
        return None
    decided_at_R, exit_R = parse_joined(joined.timestamps, count), parse_joined(joined.exit_times, count)
    if decided_at_R is None or exit_R is None or (decided_at_R == UNREADABLE).any():
        return None
    # The careful way rejects such a row with a reason.
    if ((exit_R != UNREADABLE) & (exit_R <= decided_at_R)).any():
        return None
    return _Numbers(id_R=id_R, figures_RF=figures_RF, decided_at_R=decided_at_R, exit_R=exit_R)


def _outcomes(numbers: _Numbers) -> dict[str, NDArray[Any]]:
    """Return the columns that say how each trade ended, and why it has no label if it has none."""
    entry_R, exit_price_R, pnl_R = numbers.figures_RF[:, 1:4].T
    code_R = numbers.figures_RF[:, 4].astype(np.int64)
    # Unpack the code that SQLite built; JoinedRows documents its bits.
    class_R = code_R >> 2 & 3
    unlabelled_R = np.where(_HAS_OUTCOME[class_R], 0, _BAD_TARGET_CLASS)
    # Later lines take precedence, in the order of `clm.data.rows`: open, exit time, class.
    unlabelled_R[numbers.exit_R == UNREADABLE] = _BAD_EXIT_TIME
    unlabelled_R[code_R < 16] = _OPEN
    known_R = unlabelled_R == 0
    priced_R = known_R & np.isfinite(entry_R) & np.isfinite(exit_price_R) & (entry_R > 0) & (exit_price_R > 0)
    with np.errstate(all="ignore"):  # rows without prices are divided as well, and their result is dropped
        market_return_R = np.where(priced_R, exit_price_R / entry_R - 1, np.nan)
    return {
        "resolved_at": np.where(known_R, numbers.exit_R, UNRESOLVED),
        "side": _SIDE[code_R & 3],
        "outcome": np.where(known_R, _OUTCOME[class_R], np.int8(0)),
        "unlabelled": unlabelled_R,
        "pnl": np.where(known_R & np.isfinite(pnl_R), pnl_R, np.nan),
        "market_return": market_return_R,
        "entry_price": np.where(known_R & np.isfinite(entry_R) & (entry_R > 0), entry_R, np.nan),
        "odd": np.zeros(len(code_R), dtype=np.int8),
    }


def _whole_numbers(joined: bytes, count: int) -> Ints | None:
    """Return the integers, or None if there are not exactly `count`."""
    try:
        ids = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    return np.array(ids, dtype=np.int64) if len(ids) == count and set(map(type, ids)) == {int} else None


def _figures(joined: JoinedRows) -> Floats | None:
    figures = joined.figures
    if not set(map(type, figures)) <= {float, int}:
        return None
    figures_RF = np.fromiter(figures, np.float64, count=len(figures)).reshape(joined.count, _FIGURES)
    return figures_RF if (figures_RF[:, 4] < ODD).all() else None


def _features_alike(joined: JoinedRows) -> bool:
    """Return whether all texts start like a document, none is too long, and all names are equal."""
    least, greatest = joined.least_features, joined.greatest_features
    if type(least) is not bytes or type(greatest) is not bytes:
        return False
    if not any(least >= opening and greatest[:1] == opening for opening in (b"[", b"{")):
        return False
    if len(joined.features) > MAX_TEXT_BYTES and not 0 < joined.longest_features <= MAX_TEXT_BYTES:
        return False
    return joined.names_counted in (0, joined.count) and joined.least_names == joined.greatest_names
