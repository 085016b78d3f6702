"""Derive labelled samples from candles, for a store without samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import orjson

from clm.clock import SECOND, from_micros
from clm.data.candles.barriers import Barriers, Exits, close_trades, ends_known
from clm.data.candles.catalogue import FEATURES, feature, features_of
from clm.data.candles.series import Candles, CandleSeries
from clm.data.simulator import SimulatedSample
from clm.domain.sample import Bytes8, Floats, Ints

MODEL = "backfill"
"""Value of `model_version`, where a served sample names its model."""
STAKE = 100.0
"""Quote currency a trade."""
UNDECIDED = 0.5
"""Score of a trade without a model."""


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
class _Trades:
    """N trades of one symbol."""

    series: CandleSeries
    entry_N: Ints
    side_N: Bytes8
    exits: Exits
    features_NC: Floats


def backfill(candles: Candles, policy: BackfillPolicy, now: datetime) -> list[SimulatedSample]:
    """Return trades opened at the close of candles whose features are all known, in the order of time.

    Raises:
        ConfigError: FEATURE_UNKNOWN.
    """
    trades = [_trades(series, policy) for series in candles.series]
    place = [
        (int(symbol.series.closed_at_T[entry]), number, trade)
        for number, symbol in enumerate(trades)
        for trade, entry in enumerate(symbol.entry_N)
    ]
    names = orjson.dumps(policy.features).decode()
    return [
        _sample(trades[number], trade, sample_id=sample_id, names=names, fee_bps=policy.fee_bps, now=now)
        for sample_id, (_, number, trade) in enumerate(sorted(place), start=1)
    ]


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


def _trades(series: CandleSeries, policy: BackfillPolicy) -> _Trades:
    # All features decide where trades begin, so that the choice of some does not move the trades.
    known_T = np.asarray(np.isfinite(features_of(series, FEATURES)).all(axis=1))
    entry_N = ends_known(series, policy.barriers)
    # On the absolute grid, so that more history does not move the decisions.
    on_beat_N = series.opened_at_T[entry_N] // series.interval % policy.every == 0
    entry_N = entry_N[on_beat_N & known_T[entry_N]]
    rules = SIDES[policy.side]
    side_N = np.concatenate([rule(series)[entry_N] for rule in rules])
    entry_N = np.tile(entry_N, len(rules))
    features_TC = features_of(series, [feature(name) for name in policy.features])
    return _Trades(
        series=series,
        entry_N=entry_N,
        side_N=side_N,
        exits=close_trades(series, entry_N, side_N, policy.barriers),
        features_NC=features_TC[entry_N],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closed:
    """One trade from its entry to its exit."""

    decided_at: int
    """Microseconds."""
    held_s: int
    side: int
    entry_price: float
    exit_price: float

    @property
    def gain(self) -> float:
        return self.side * (self.exit_price / self.entry_price - 1)


def _closed(trades: _Trades, trade: int) -> _Closed:
    series, entry = trades.series, int(trades.entry_N[trade])
    return _Closed(
        decided_at=int(series.closed_at_T[entry]),
        held_s=int(trades.exits.held_N[trade]) * series.interval // SECOND,
        side=int(trades.side_N[trade]),
        entry_price=float(series.close_T[entry]),
        exit_price=float(trades.exits.price_N[trade]),
    )


def _sample(
    trades: _Trades, trade: int, *, sample_id: int, names: str, fee_bps: float, now: datetime
) -> SimulatedSample:
    closed = _closed(trades, trade)
    # The fee is due twice: at the entry and at the exit.
    pnl = round(STAKE * (closed.gain - 2 * fee_bps / 10_000), 2)
    action = "BUY" if closed.side > 0 else "SELL"
    return SimulatedSample(
        id=sample_id,
        symbol=trades.series.symbol,
        timestamp=from_micros(closed.decided_at),
        run_id=None,
        predicted_action=action,
        prediction_score=UNDECIDED,
        prediction_confidence=UNDECIDED,
        model_version=MODEL,
        features=orjson.dumps(trades.features_NC[trade].tolist()).decode(),
        feature_names=names,
        executed=False,
        execution_side=action,
        entry_price=closed.entry_price,
        entry_quantity=STAKE / closed.entry_price,
        entry_time=from_micros(closed.decided_at),
        outcome_known=True,
        exit_price=closed.exit_price,
        exit_time=from_micros(closed.decided_at + closed.held_s * SECOND),
        realized_pnl=pnl,
        hold_duration_seconds=closed.held_s,
        target_label=closed.gain,
        target_class="WIN" if pnl > 0 else "LOSS" if pnl < 0 else "NEUTRAL",
        created_at=now,
        updated_at=now,
    )
