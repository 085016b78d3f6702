"""Derive labelled samples from candles, for a store without samples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from clm.clock import SECOND, from_micros
from clm.data.candles.barriers import Barriers, close_trades, ends_known
from clm.data.candles.catalogue import FEATURES, feature, features_of
from clm.data.candles.series import Candles, CandleSeries
from clm.data.simulator import SimulatedSample
from clm.domain.sample import Bytes8, Floats, Ints

MODEL = "backfill"
"""Value of `model_version`, where a served sample names its model."""
STAKE = 100.0
"""Quote currency a trade."""
UNDECIDED = 0.5
"""Score of a trade that no model asked for."""
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPolicy:
    """Rules for opening and closing trades."""

    barriers: Barriers
    fee_bps: float
    """Of one side of a trade, in basis points."""
    every: int
    """Candles between decisions."""
    side: str
    """A name of SIDES."""
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """N trades in the order of time, then of their symbol's name."""

    symbols: tuple[str, ...]
    symbol_N: Ints
    """Code into `symbols`."""
    decided_at_N: Ints
    held_s_N: Ints
    side_N: Bytes8
    entry_price_N: Floats
    exit_price_N: Floats
    pnl_N: Floats
    features_NC: Floats
    feature_names: tuple[str, ...]
    now: datetime

    @property
    def share_won(self) -> float:
        """Share of the trades that end with a profit; NaN for no trades."""
        return float((self.pnl_N > 0).mean()) if len(self) else float("nan")

    def __len__(self) -> int:
        return len(self.decided_at_N)

    def __iter__(self) -> Iterator[SimulatedSample]:
        """Yield the samples, one at a time: a million of them take gigabytes."""
        names = orjson.dumps(self.feature_names).decode()
        columns = (
            self.symbol_N, self.decided_at_N, self.held_s_N, self.side_N,
            self.entry_price_N, self.exit_price_N, self.pnl_N,
        )  # fmt: skip
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            values = zip(*(column[part].tolist() for column in columns), strict=True)
            for number, (value, features) in enumerate(
                zip(values, self.features_NC[part].tolist(), strict=True), start=start + 1
            ):
                yield self._sample(number, value, orjson.dumps(features).decode(), names)

    def _sample(self, number: int, value: tuple[Any, ...], features: str, names: str) -> SimulatedSample:
        symbol, decided_at, held_s, side, entry_price, exit_price, pnl = value
        action, moment = ("BUY" if side > 0 else "SELL"), from_micros(decided_at)
        return SimulatedSample(
            id=number,
            symbol=self.symbols[symbol],
            timestamp=moment,
            run_id=None,
            predicted_action=action,
            prediction_score=UNDECIDED,
            prediction_confidence=UNDECIDED,
            model_version=MODEL,
            features=features,
            feature_names=names,
            executed=False,
            execution_side=action,
            entry_price=entry_price,
            entry_quantity=STAKE / entry_price,
            entry_time=moment,
            outcome_known=True,
            exit_price=exit_price,
            exit_time=from_micros(decided_at + held_s * SECOND),
            realized_pnl=pnl,
            hold_duration_seconds=held_s,
            target_label=side * (exit_price / entry_price - 1),
            target_class="WIN" if pnl > 0 else "LOSS" if pnl < 0 else "NEUTRAL",
            created_at=self.now,
            updated_at=self.now,
        )


def backfill(candles: Candles, policy: BackfillPolicy, now: datetime) -> Backfilled:
    """Return trades opened at the close of candles whose features are all known, in the order of time.

    The cost grows with the number of candles, and no other way.

    Raises:
        ConfigError: FEATURE_UNKNOWN.
    """
    parts = [_trades(series, policy, code) for code, series in enumerate(candles.series)]
    order = np.lexsort((_joined(parts, "symbol_N"), _joined(parts, "decided_at_N")))
    columns: dict[str, Any] = {}
    for name, form in _COLUMNS.items():
        columns[name] = _joined(parts, name)[order].astype(form)
        for part in parts:
            del part[name]  # one column at a time is held twice
    return Backfilled(
        symbols=tuple(series.symbol for series in candles.series),
        feature_names=policy.features,
        now=now,
        **columns,
    )


def _joined(parts: Sequence[Mapping[str, Any]], name: str) -> Any:
    return np.concatenate([part[name] for part in parts]) if parts else np.empty(0)


def _trend(series: CandleSeries) -> Bytes8:
    """BUY above the mean of the last 50 candles, SELL below it, nothing where it is unknown."""
    (above_T,) = features_of(series, [feature("ema_50")]).T
    return np.where(above_T > 0, 1, np.where(above_T <= 0, -1, 0)).astype(np.int8)


def _always(side: int) -> Callable[[CandleSeries], Bytes8]:
    return lambda series: np.full(len(series), side, dtype=np.int8)


SIDES: Mapping[str, tuple[Callable[[CandleSeries], Bytes8], ...]] = {
    "trend": (_trend,),
    "buy": (_always(1),),
    "sell": (_always(-1),),
    "both": (_always(1), _always(-1)),
}
"""How the side of a trade is chosen; each rule opens a separate trade."""


_COLUMNS = {
    "symbol_N": np.int64,
    "decided_at_N": np.int64,
    "held_s_N": np.int64,
    "side_N": np.int8,
    "entry_price_N": np.float64,
    "exit_price_N": np.float64,
    "pnl_N": np.float64,
    "features_NC": np.float64,
}


def _trades(series: CandleSeries, policy: BackfillPolicy, code: int) -> dict[str, Any]:
    """Return the trades of one symbol by the names of _COLUMNS, and their features."""
    chosen = [feature(name) for name in policy.features]
    # All features decide where trades begin, so that the choice of some does not move the trades.
    known_T = np.ones(len(series), dtype=np.bool_)
    for member in FEATURES:
        known_T &= np.isfinite(features_of(series, [member])[:, 0])
    entry_N = ends_known(series, policy.barriers)
    # On the absolute grid, so that more history does not move the decisions.
    on_beat_N = series.opened_at_T[entry_N] // series.interval % policy.every == 0
    entry_N = entry_N[on_beat_N & known_T[entry_N]]
    rules = SIDES[policy.side]
    side_N = np.concatenate([rule(series)[entry_N] for rule in rules])
    entry_N = np.tile(entry_N, len(rules))
    exits = close_trades(series, entry_N, side_N, policy.barriers)
    entry_price_N = series.close_T[entry_N]
    gain_N = side_N * (exits.price_N / entry_price_N - 1)
    return {
        "symbol_N": np.full(len(entry_N), code, dtype=np.int64),
        "decided_at_N": series.closed_at_T[entry_N],
        "held_s_N": exits.held_N * series.interval // SECOND,
        "side_N": side_N,
        "entry_price_N": entry_price_N,
        "exit_price_N": exits.price_N,
        "pnl_N": np.round(STAKE * (gain_N - 2 * policy.fee_bps / 10_000), 2),
        "features_NC": features_of(series, chosen)[entry_N],
    }
