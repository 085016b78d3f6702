"""Check candles; impossible, duplicate, off-grid and unfinished ones are rejected."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clm.data.candles.parsing import UNREADABLE, CandleColumns
from clm.data.candles.series import CandleReport, CandleSeries
from clm.domain.sample import Floats, Ints

MAX_PRICE = 1e12
MIN_PRICE = 1e-12
MAX_VOLUME = 1e18

Mask = NDArray[np.bool_]


def settle(
    symbol: str, parts: Sequence[CandleColumns], *, now: int
) -> tuple[CandleSeries | None, CandleReport]:
    """Return the usable candles of a symbol and a report; None instead of candles without an interval.

    A candle that was still open at `now`, or when its file was written, shows a price that was not its
    close. Two candles of one time with other numbers are both left out: which one is right is unknown.
    """
    opened_at_T = np.concatenate([part.opened_at_T for part in parts])
    prices_TP = np.concatenate([part.prices_TP for part in parts])
    good_T, interval, rejected = _judge(opened_at_T, prices_TP, parts, now)
    index_T = np.flatnonzero(good_T)
    index_T = index_T[np.argsort(opened_at_T[index_T], kind="stable")]
    kept_T, duplicates, conflicting = _one_each(opened_at_T[index_T], prices_TP[index_T])
    if conflicting:
        rejected["conflicting_duplicate"] += conflicting
    opened_at_T, prices_TP = opened_at_T[index_T[kept_T]], prices_TP[index_T[kept_T]]
    # max(): without an interval there are no candles to divide.
    steps = np.diff(opened_at_T) // max(interval, 1)
    there = len(opened_at_T) > 0
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
    )
    return _series(symbol, interval, opened_at_T, prices_TP) if there else None, report


def _judge(
    opened_at_T: Ints, prices_TP: Floats, parts: Sequence[CandleColumns], now: int
) -> tuple[Mask, int, Counter[str]]:
    """Return which candles are individually valid, their interval, and the rejects by reason."""
    rejected: Counter[str] = Counter()
    good_T = ~_count(rejected, "bad_timestamp", opened_at_T == UNREADABLE)
    good_T &= ~_count(rejected, "bad_number", good_T & ~np.isfinite(prices_TP).all(axis=1))
    good_T &= ~_count(rejected, "impossible_prices", good_T & ~possible(prices_TP))
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
    steps = np.diff(np.unique(opened_at_T[opened_at_T != UNREADABLE]))
    return _most_common(steps) if len(steps) else 0


def _series(symbol: str, interval: int, opened_at_T: Ints, prices_TP: Floats) -> CandleSeries:
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
    )


def possible(prices_TP: Floats) -> Mask:
    """Return whether low and high enclose the other prices, and all values are in a plausible range."""
    open_T, high_T, low_T, close_T, volume_T = prices_TP.T
    return np.asarray(
        (low_T >= MIN_PRICE)
        & (high_T <= MAX_PRICE)
        & (low_T <= np.minimum(open_T, close_T))
        & (high_T >= np.maximum(open_T, close_T))
        & (volume_T >= 0)
        & (volume_T <= MAX_VOLUME)
    )


def _still_open(opened_at_T: Ints, interval: int, parts: Sequence[CandleColumns], now: int) -> Mask:
    written_T = np.concatenate(
        [np.full(len(part.opened_at_T), part.written_at if part.written_at else now) for part in parts]
    )
    # Only the candle that was running then: files travel, and their times of writing move with them.
    running_T = (opened_at_T <= written_T) & (written_T < opened_at_T + interval)
    return np.asarray((opened_at_T + interval > now) | running_T)


def _one_each(opened_at_T: Ints, prices_TP: Floats) -> tuple[Ints, int, int]:
    """Return the candles to keep, the number of duplicates, and the number of contradictions."""
    if not len(opened_at_T):
        return np.empty(0, dtype=np.int64), 0, 0
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
    different, counts = np.unique(values, return_counts=True)
    return int(different[counts.argmax()])


def _count(rejected: Counter[str], reason: str, guilty_T: Mask) -> Mask:
    if found := int(guilty_T.sum()):
        rejected[reason] += found
    return guilty_T
