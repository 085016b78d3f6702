"""Windows of the last closed candles before each decision, with the sample's own features."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    members = [feature(chosen[column].removeprefix(PREFIX)) for column in from_candles]
    steps = _Steps(sum(map(len, candles.series)), len(chosen), from_candles)
    end_R = np.full(len(table), -1, dtype=np.int64)
    dropped: Counter[str] = Counter()
    held_symbols = {series.symbol for series in candles.series}
    for code, symbol in enumerate(table.symbols):
        if symbol not in held_symbols:
            dropped["candles_missing"] += int((wanted_R & (table.symbol_R == code)).sum())
    for series in candles.series:
        rows = np.flatnonzero(wanted_R & (table.symbol_R == _code(table.symbols, series.symbol)))
        if not len(rows):
            continue
        x_TC = features_of(series, members)
        last_N, reason_N = window_ends(series, x_TC, table.decided_at_R[rows], context_length)
        dropped.update(reason_N[reason_N != ""].tolist())
        ends_N = last_N[reason_N == ""]
        place_T = steps.add(series, x_TC, _shown(len(series), ends_N, context_length))
        end_R[rows[reason_N == ""]] = place_T[ends_N]
    row_N = np.flatnonzero(end_R >= 0)
    row_N = row_N[np.lexsort((table.sample_id_R[row_N], table.decided_at_R[row_N]))]
    held = [column for column in range(len(chosen)) if column not in from_candles]
    carried = [table.feature_names.index(chosen[column]) for column in held]
    return CandleWindows(
        row_N=row_N,
        windows=WindowSet(
            steps_MC=steps.x_MC[: steps.count],
            end_N=end_R[row_N],
            context_length=context_length,
            names=tuple(chosen),
            held_K=np.array(held, dtype=np.int64),
            held_NK=table.features_RC[row_N][:, carried],
        ),
        closed_at_M=np.concatenate([_NONE, *steps.closed_at]),
        symbol_M=np.concatenate(
            [_NONE, *(np.full(n, _code(table.symbols, symbol)) for symbol, n in steps.symbols)]
        ),
        dropped=dict(+dropped),
    )


class _Steps:
    """The steps that windows show, one series after another; a series is held twice, never all of them."""

    def __init__(self, room: int, width: int, from_candles: Sequence[int]) -> None:
        # Pages that are never written cost nothing.
        self.x_MC: Floats = np.zeros((room, width))
        self.count = 0
        self.closed_at: list[Ints] = []
        self.symbols: list[tuple[str, int]] = []
        self._from_candles = from_candles

    def add(self, series: CandleSeries, x_TC: Floats, shown_T: NDArray[np.bool_]) -> Ints:
        """Keep the steps that are shown and return the place of each; no unknown step is among them."""
        n = int(shown_T.sum())
        self.x_MC[self.count : self.count + n, self._from_candles] = x_TC[shown_T]
        self.closed_at.append(series.closed_at_T[shown_T])
        self.symbols.append((series.symbol, n))
        place_T = self.count + np.cumsum(shown_T) - 1
        self.count += n
        return place_T


def _shown(length: int, ends_N: Ints, context_length: int) -> NDArray[np.bool_]:
    """Return which steps are in a window that ends at one of these."""
    edges_T = np.zeros(length + 1, dtype=np.int64)
    np.add.at(edges_T, ends_N - context_length + 1, 1)
    np.add.at(edges_T, ends_N + 1, -1)
    return np.asarray(np.cumsum(edges_T[:-1]) > 0)


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
