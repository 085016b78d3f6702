"""Candles one by one and as a series: impossible, repeated, unfinished ones are left out, and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clm.clock import HOUR, SECOND, from_micros
from clm.data.candles.parsing import CandleColumns
from clm.data.candles.series import CandleReport, CandleSeries
from clm.data.timestamps import UNREADABLE
from clm.domain.sample import Floats, Ints
from clm.errors import DataError

MAX_PRICE = 1e12
MIN_PRICE = 1e-12
MAX_VOLUME = 1e18
FEWEST_FLAT = 3
FLAT_H = 3
"""Candles without volume and without a move are left out from so many in a row, and from so many hours."""
MAX_JUMP = 1.8
"""Largest ratio of an opening to the close before. Markets that never close open where they closed; others
open up to a third away, and a split is a ratio of 2 or more."""
_SWAPPED = 4.0
"""How much better open and close must continue each other the other way round."""
_FEW = 20
"""Steps from which the order of columns and the digits of prices can be judged."""
_COARSE_SHARE = 0.3
"""Share of candles without a move above which prices may have too few digits."""
_CONFLICTS = 0.1
"""Share of common times with different prices above which two files are of two markets."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """All rows of one market, file after file."""

    opened_at_T: Ints
    prices_TP: Floats
    part_T: Ints
    """The file of each row."""
    noise_T: Floats


def settle(
    symbol: str, parts: Sequence[CandleColumns], *, now: int
) -> tuple[CandleSeries | None, CandleReport]:
    """Return the usable candles of a market, and what was found; None where no interval can be seen.

    A candle that was still open at `now`, or when its file was written, shows a price that was not its
    close. Two candles of one time with other numbers are both left out: which one is right is unknown.

    Raises:
        DataError: CANDLES_TWO_MARKETS, two files contradict each other; CANDLES_SWAPPED, open and close are
            in each other's column.
    """
    shifted = [_from_closing_times(part) for part in parts]
    rows = _rows_of([part for part, _ in shifted])
    good_T, interval, rejected = _judge(rows, parts, now)
    index_T = np.flatnonzero(good_T)
    if (np.diff(rows.opened_at_T[index_T]) < 0).any():
        index_T = index_T[np.argsort(rows.opened_at_T[index_T], kind="stable")]
    kept_T, duplicates, conflicting = _one_each(rows.opened_at_T[index_T], rows.prices_TP[index_T])
    if conflicting:
        _require_one_market(symbol, rows, index_T, parts)
        rejected["conflicting_duplicate"] += conflicting
    if len(kept_T) == len(good_T) and not _steps_back(rows.opened_at_T):
        opened_at_T, prices_TP = rows.opened_at_T, rows.prices_TP
    else:
        opened_at_T, prices_TP = rows.opened_at_T[index_T[kept_T]], rows.prices_TP[index_T[kept_T]]
    prices_TP, rounded = _widened(prices_TP)
    trading_T = ~_not_trading(opened_at_T, prices_TP, interval)
    not_trading = len(trading_T) - int(trading_T.sum())
    if not_trading:
        opened_at_T, prices_TP = opened_at_T[trading_T], prices_TP[trading_T]
    steps = np.diff(opened_at_T) // max(interval, 1)
    there = len(opened_at_T) > 0
    jump_M = _jumps(steps, prices_TP)
    _require_order(symbol, steps, prices_TP, parts)
    names = tuple(sorted({part.written for part in parts if part.written}))
    report = CandleReport(
        symbol=symbol,
        interval=interval,
        rows_read=len(good_T),
        candles=len(opened_at_T),
        first_at=int(opened_at_T[0]) if there else 0,
        last_at=int(opened_at_T[-1]) if there else 0,
        rejected=dict(sorted(rejected.items())),
        duplicates=duplicates,
        out_of_order=sum(_steps_back(part.opened_at_T) for part in parts),
        gaps=int((steps > 1).sum()),
        missing=int((steps - 1).sum()),
        not_trading=not_trading,
        rounded=rounded,
        closing_times=sum(shifts for _, shifts in shifted),
        jumps=len(jump_M),
        first_jump=_shown_jump(jump_M, opened_at_T, prices_TP),
        coarse_share=_coarse_share(prices_TP),
        spellings=names if len(names) > 1 else (),
    )
    return _series(symbol, interval, opened_at_T, prices_TP, jump_M) if there else None, report


def _rows_of(parts: Sequence[CandleColumns]) -> _Rows:
    lengths = [len(part.opened_at_T) for part in parts]
    one = parts[0] if len(parts) == 1 else None
    return _Rows(
        opened_at_T=one.opened_at_T if one else np.concatenate([part.opened_at_T for part in parts]),
        prices_TP=one.prices_TP if one else np.concatenate([part.prices_TP for part in parts]),
        part_T=np.repeat(np.arange(len(parts)), lengths),
        noise_T=np.repeat([part.noise for part in parts], lengths),
    )


def _from_closing_times(part: CandleColumns) -> tuple[CandleColumns, int]:
    """Return a part with openings, and how many of its times were closings: 00:59:59.999 closes 00:00."""
    readable_T = part.opened_at_T != UNREADABLE
    interval = interval_of(part.opened_at_T)
    if not interval:
        return part, 0
    phase = _most_common(part.opened_at_T[readable_T] % interval)
    if not 0 < interval - phase <= SECOND:
        return part, 0
    closing_T = readable_T & (part.opened_at_T % interval == phase)
    opened_at_T = np.where(closing_T, part.opened_at_T - phase, part.opened_at_T)
    return replace(part, opened_at_T=opened_at_T), int(closing_T.sum())


def _judge(rows: _Rows, parts: Sequence[CandleColumns], now: int) -> tuple[Mask, int, Counter[str]]:
    """Return which candles are good each by itself, their interval, and what was wrong with the others."""
    opened_at_T, prices_TP = rows.opened_at_T, rows.prices_TP
    rejected: Counter[str] = Counter()
    good_T = ~_count(rejected, "bad_timestamp", opened_at_T == UNREADABLE)
    good_T &= ~_count(rejected, "bad_number", good_T & ~np.isfinite(prices_TP).all(axis=1))
    good_T &= ~_count(rejected, "impossible_prices", good_T & ~possible(prices_TP, rows.noise_T))
    interval = interval_of(opened_at_T[good_T])
    if not interval:
        return good_T & ~_count(rejected, "no_interval", good_T), 0, rejected
    # The grid may be offset, for example hours that begin at half past.
    phase = _most_common(opened_at_T[good_T] % interval)
    good_T &= ~_count(rejected, "off_grid", good_T & (opened_at_T % interval != phase))
    good_T &= ~_count(rejected, "still_open", good_T & _still_open(opened_at_T, interval, parts, now))
    return good_T, interval, rejected


def interval_of(opened_at_T: Ints) -> int:
    """Return the most common step between neighbours in time, the shortest of several; 0 for none."""
    readable_T = opened_at_T[opened_at_T != UNREADABLE]
    steps = np.diff(readable_T)
    if (steps <= 0).any():
        steps = np.diff(np.unique(readable_T))
    return _most_common(steps) if len(steps) else 0


def _series(symbol: str, interval: int, opened_at_T: Ints, prices_TP: Floats, jump_M: Ints) -> CandleSeries:
    open_T, high_T, low_T, close_T, volume_T = (np.ascontiguousarray(column_T) for column_T in prices_TP.T)
    return CandleSeries(
        symbol=symbol,
        interval=interval,
        opened_at_T=opened_at_T,
        open_T=open_T,
        high_T=high_T,
        low_T=low_T,
        close_T=close_T,
        volume_T=volume_T,
        jump_M=jump_M,
    )


def possible(prices_TP: Floats, noise_T: Floats | float = 0.0) -> Mask:
    """Return whether the low is the least and the high the greatest price, up to `noise_T` of the price."""
    open_T, high_T, low_T, close_T, volume_T = prices_TP.T
    with np.errstate(invalid="ignore", over="ignore"):  # what is NaN or too large is compared as false
        return np.asarray(
            (low_T >= MIN_PRICE)
            & (high_T <= MAX_PRICE)
            & (low_T <= np.minimum(open_T, close_T) * (1 + noise_T))
            & (high_T >= np.maximum(open_T, close_T) * (1 - noise_T))
            & (volume_T >= 0)
            & (volume_T <= MAX_VOLUME)
        )


def _widened(prices_TP: Floats) -> tuple[Floats, int]:
    """Return prices whose high and low hold the others, and how many candles missed that by rounding."""
    open_T, high_T, low_T, close_T, _ = prices_TP.T
    highest_T, lowest_T = np.maximum(open_T, close_T), np.minimum(open_T, close_T)
    rounded_T = (high_T < highest_T) | (low_T > lowest_T)
    if not rounded_T.any():
        return prices_TP, 0
    widened_TP = prices_TP.copy()
    widened_TP[:, 1] = np.maximum(high_T, highest_T)
    widened_TP[:, 2] = np.minimum(low_T, lowest_T)
    return widened_TP, int(rounded_T.sum())


def _not_trading(opened_at_T: Ints, prices_TP: Floats, interval: int) -> Mask:
    """Return the candles without volume and without a move in rows of FEWEST_FLAT and of FLAT_H hours."""
    open_T, high_T, low_T, close_T, volume_T = prices_TP.T
    flat_T: Mask = (volume_T == 0) & (high_T == low_T) & (open_T == close_T)
    if not flat_T.any():
        return flat_T
    edges = np.flatnonzero(np.diff(flat_T.astype(np.int8), prepend=0, append=0))
    long_T = np.zeros(len(flat_T), dtype=np.bool_)
    for first, stop in edges.reshape(-1, 2).tolist():
        lasted = opened_at_T[stop - 1] - opened_at_T[first] + interval
        if stop - first >= FEWEST_FLAT and lasted >= FLAT_H * HOUR:
            long_T[first:stop] = True
    return long_T


def _jumps(steps: Ints, prices_TP: Floats) -> Ints:
    """Return the candles that open too far from the close of the candle right before."""
    if len(prices_TP) < 2:
        return np.empty(0, dtype=np.int64)
    ratio_T = prices_TP[1:, 0] / prices_TP[:-1, 3]
    far_T = (steps == 1) & ((ratio_T > MAX_JUMP) | (ratio_T < 1 / MAX_JUMP))
    return np.flatnonzero(far_T) + 1


def _shown_jump(jump_M: Ints, opened_at_T: Ints, prices_TP: Floats) -> str:
    if not len(jump_M):
        return ""
    at = int(jump_M[0])
    before, after = prices_TP[at - 1, 3], prices_TP[at, 0]
    return f"{from_micros(int(opened_at_T[at])):%Y-%m-%d %H:%M} from {before:g} to {after:g}"


def _coarse_share(prices_TP: Floats) -> float:
    """Return the share of candles that close where the last one did, if moves are of one or two ticks."""
    close_T = prices_TP[:, 3]
    move_T = np.abs(np.diff(close_T))
    moved_T = move_T > 0
    if moved_T.sum() < _FEW or moved_T.mean() > 1 - _COARSE_SHARE:
        return 0.0
    tick = float(np.diff(np.unique(close_T)).min())
    return float(1 - moved_T.mean()) if np.median(move_T[moved_T]) < 2.5 * tick else 0.0


def _require_order(symbol: str, steps: Ints, prices_TP: Floats, parts: Sequence[CandleColumns]) -> None:
    """Refuse candles that continue each other only if open and close are exchanged."""
    next_T = np.flatnonzero(steps == 1)
    if len(next_T) < _FEW:
        return
    open_T, close_T = prices_TP[:, 0], prices_TP[:, 3]
    as_given = float(np.median(np.abs(np.log(open_T[next_T + 1] / close_T[next_T]))))
    exchanged = float(np.median(np.abs(np.log(close_T[next_T + 1] / open_T[next_T]))))
    if as_given > _SWAPPED * exchanged and as_given > 0:
        raise DataError(
            "CANDLES_SWAPPED",
            f"{symbol} in {parts[0].source}: each open is far from the close before ({as_given:.2%}), each "
            f"close is near the open before ({exchanged:.2%}): the columns open and close are exchanged; "
            "correct the order of the columns",
        )


def _require_one_market(symbol: str, rows: _Rows, index_T: Ints, parts: Sequence[CandleColumns]) -> None:
    """Refuse files that have different prices at the same times: they are of two markets."""
    used = np.unique(rows.part_T[index_T]).tolist()
    for one, other in pairwise(used):
        first_T, second_T = (index_T[rows.part_T[index_T] == part] for part in (one, other))
        common, at_first, at_second = np.intersect1d(
            rows.opened_at_T[first_T], rows.opened_at_T[second_T], return_indices=True
        )
        differ_T = (rows.prices_TP[first_T[at_first]] != rows.prices_TP[second_T[at_second]]).any(axis=1)
        if differ_T.sum() > max(2, _CONFLICTS * len(common)):
            raise DataError(
                "CANDLES_TWO_MARKETS",
                f"{parts[one].source} and {parts[other].source} both hold {symbol} and differ in "
                f"{int(differ_T.sum()):,} of {len(common):,} common candles: they are of two markets; "
                "keep one, or name each by its own market",
            )


def _still_open(opened_at_T: Ints, interval: int, parts: Sequence[CandleColumns], now: int) -> Mask:
    written_T = np.repeat(
        [part.written_at if part.written_at else now for part in parts],
        [len(part.opened_at_T) for part in parts],
    )
    # Only the candle that was running then: files travel, and their times of writing move with them.
    running_T = (opened_at_T <= written_T) & (written_T < opened_at_T + interval)
    return np.asarray((opened_at_T + interval > now) | running_T)


def _one_each(opened_at_T: Ints, prices_TP: Floats) -> tuple[Ints, int, int]:
    """Return which of these sorted candles to keep, how many repeat another, how many contradict another."""
    if len(opened_at_T) < 2 or (np.diff(opened_at_T) > 0).all():
        return np.arange(len(opened_at_T)), 0, 0
    _, first_M, group_T, count_M = np.unique(
        opened_at_T, return_index=True, return_inverse=True, return_counts=True
    )
    same_T = (prices_TP == prices_TP[first_M[group_T]]).all(axis=1)
    # A group agrees if all of its candles equal its first one.
    agree_M = np.bincount(group_T, weights=same_T) == count_M
    return (
        first_M[agree_M].astype(np.int64),
        int((count_M[agree_M] - 1).sum()),
        int(count_M[~agree_M].sum()),
    )


def _steps_back(opened_at_T: Ints) -> int:
    readable_T = opened_at_T[opened_at_T != UNREADABLE]
    return int((readable_T < np.maximum.accumulate(readable_T)).sum()) if len(readable_T) else 0


def _most_common(values: Ints) -> int:
    if not len(values):
        return 0
    if (values == values[0]).all():
        return int(values[0])
    different, counts = np.unique(values, return_counts=True)
    return int(different[counts.argmax()])


def _count(rejected: Counter[str], reason: str, guilty_T: Mask) -> Mask:
    if found := int(guilty_T.sum()):
        rejected[reason] += found
    return guilty_T
