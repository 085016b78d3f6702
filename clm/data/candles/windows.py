"""Windows of the last closed candles before each decision, with the sample's own features."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from clm.data.candles.catalogue import DEFAULT_FEATURES, feature, features_of
from clm.data.candles.series import Candles, CandleSeries
from clm.data.windows import WindowSet
from clm.domain.sample import Floats, Ints, SampleTable

_NONE = np.empty(0, dtype=np.int64)

PREFIX = "candle_"
"""`candle_rsi` is that of the candles, `rsi` that of the sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleWindows:
    """Windows over candles, ordered by (decided_at, sample_id)."""

    row_N: Ints
    """The sample that each window belongs to."""
    windows: WindowSet
    closed_at_M: Ints
    """When each step was known."""
    symbol_M: Ints
    """Code of each step's symbol in the table."""
    dropped: Mapping[str, int]
    """Samples that became no window, by reason."""


def channels(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the channels of a window: those asked for, or the default features of the candles."""
    return names or tuple(PREFIX + name for name in DEFAULT_FEATURES)


def sample_features(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the channels that the samples have to carry."""
    return tuple(name for name in channels(names) if not name.startswith(PREFIX))


def candle_windows(
    table: SampleTable,
    wanted_R: NDArray[np.bool_],
    candles: Candles,
    *,
    names: tuple[str, ...],
    context_length: int,
) -> CandleWindows:
    """Return a window for each wanted sample that has `context_length` known candles right before it.

    The last candle of a window is the one that closed at the decision or within one interval before it;
    none is missing in between, and every feature of every step is known. Everything else is dropped.

    Raises:
        ConfigError: FEATURE_UNKNOWN.
    """
    chosen = [name for name in channels(names) if name.startswith(PREFIX) or name in table.feature_names]
    from_candles = [column for column, name in enumerate(chosen) if name.startswith(PREFIX)]
    steps_MC = _steps(candles, chosen, from_candles)
    end_R, dropped = _ends(table, wanted_R, candles, (steps_MC, from_candles), context_length)
    row_N = np.flatnonzero(end_R >= 0)
    row_N = row_N[np.lexsort((table.sample_id_R[row_N], table.decided_at_R[row_N]))]
    shown_M = np.zeros(len(steps_MC), dtype=np.bool_)
    for step in range(context_length):
        shown_M[end_R[row_N] - step] = True
    place_M = np.cumsum(shown_M) - 1
    held = [column for column in range(len(chosen)) if column not in from_candles]
    carried = [table.feature_names.index(chosen[column]) for column in held]
    return CandleWindows(
        row_N=row_N,
        windows=WindowSet(
            # Steps that no window shows are left out: among them are all that are not known.
            steps_MC=steps_MC[shown_M],
            end_N=place_M[end_R[row_N]],
            context_length=context_length,
            names=tuple(chosen),
            held_K=np.array(held, dtype=np.int64),
            held_NK=table.features_RC[row_N][:, carried],
        ),
        closed_at_M=np.concatenate([_NONE, *(s.closed_at_T for s in candles.series)])[shown_M],
        symbol_M=np.concatenate(
            [_NONE, *(np.full(len(s), _code(table.symbols, s.symbol)) for s in candles.series)]
        )[shown_M],
        dropped=dropped,
    )


def _ends(
    table: SampleTable,
    wanted_R: NDArray[np.bool_],
    candles: Candles,
    steps: tuple[Floats, Sequence[int]],
    context_length: int,
) -> tuple[Ints, dict[str, int]]:
    """Return the last step of each wanted row's window, -1 if it has none; and how many have none, by reason.

    `steps` are the features of all candles, one series after another, and which columns come from candles.
    """
    steps_MC, from_candles = steps
    offset_of = dict(zip((s.symbol for s in candles.series), _offsets(candles), strict=True))
    series_of = {series.symbol: series for series in candles.series}
    end_R = np.full(len(table), -1, dtype=np.int64)
    dropped: Counter[str] = Counter()
    for code, symbol in enumerate(table.symbols):
        rows = np.flatnonzero(wanted_R & (table.symbol_R == code))
        series, offset = series_of.get(symbol), offset_of.get(symbol, 0)
        if series is None:
            dropped["candles_missing"] += len(rows)
            continue
        x_TC = steps_MC[offset : offset + len(series), from_candles]
        last_N, reason_N = window_ends(series, x_TC, table.decided_at_R[rows], context_length)
        end_R[rows] = np.where(reason_N == "", last_N + offset, -1)
        dropped.update(reason_N[reason_N != ""].tolist())
    return end_R, dict(+dropped)


def _steps(candles: Candles, chosen: Sequence[str], from_candles: Sequence[int]) -> Floats:
    """Return the features of all candles, one series after another."""
    members = [feature(chosen[column].removeprefix(PREFIX)) for column in from_candles]
    steps_MC = np.zeros((sum(map(len, candles.series)), len(chosen)))
    for series, offset in zip(candles.series, _offsets(candles), strict=True):
        steps_MC[offset : offset + len(series), from_candles] = features_of(series, members)
    return steps_MC


def _offsets(candles: Candles) -> list[int]:
    """Return where each series begins when they stand one after another."""
    return [0, *accumulate(map(len, candles.series))][:-1]


def _code(symbols: tuple[str, ...], symbol: str) -> int:
    return symbols.index(symbol) if symbol in symbols else -1


def window_ends(
    series: CandleSeries, x_TC: Floats, decided_at_N: Ints, context_length: int
) -> tuple[Ints, NDArray[np.str_]]:
    """Return the last closed candle before each decision, and why it can end no window; empty if it can.

    `x_TC` are the features of all candles, NaN where one is not known.
    """
    closed_at_T, run_start_T = series.closed_at_T, series.run_start_T
    last_N = np.searchsorted(closed_at_T, decided_at_N, side="right") - 1
    # A decision before the first candle uses that one, and is recognised by its time.
    at_N = np.maximum(last_N, 0)
    fresh_N = (last_N >= 0) & (decided_at_N - closed_at_T[at_N] < series.interval)
    unknown_T = ~np.isfinite(x_TC).all(axis=1)
    index_T = np.arange(len(series))
    last_unknown_T = np.maximum.accumulate(np.where(unknown_T, index_T, -1))
    first_N = at_N - context_length + 1
    whole_N = (first_N >= run_start_T[at_N]) & (last_unknown_T[at_N] < first_N)
    too_few_N = run_start_T[at_N] == 0
    reason_N = np.select(
        [fresh_N & whole_N, ~fresh_N, too_few_N], ["", "candles_missing", "candles_too_few"], "candles_gap"
    )
    return at_N, reason_N
