"""A simulated history of trades in the shape of `ai_training_samples`, seeded and with known signal.

Trades are opened at random hours, mostly on the side that traders take, and closed by a take-profit, a stop
or the clock. In a lively market prices follow the traders, in a dull one they do not: volatility and volume
tell WIN from LOSS, in the measure of `signal`. At signal 0 no feature tells anything.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson

from clm.data.market import FEATURE_NAMES, WARM_UP_H, Market, features_of, simulate_market
from clm.domain.sample import Bytes8, Floats, Ints

TAKE_PROFIT = 0.006
STOP_LOSS = 0.018
HORIZON_H = 6
FEES = 0.0008
"""Of the stake, for both sides of a trade."""
STAKE = 100.0
"""Quote currency a trade."""

_LOYALTY = 0.9
"""Share of trades on the side that traders take at that hour."""
_SYMBOLS = ("ADAUSDT", "BNBUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")
_STORED = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSample:
    """One row of the store, all columns in their order; moments are aware UTC."""

    id: int
    symbol: str
    timestamp: datetime
    run_id: int | None
    predicted_action: str
    prediction_score: float
    prediction_confidence: float
    model_version: str | None
    features: str
    feature_names: str
    executed: bool
    execution_side: str
    entry_price: float
    entry_quantity: float
    entry_time: datetime
    outcome_known: bool
    exit_price: float | None
    exit_time: datetime | None
    realized_pnl: float | None
    hold_duration_seconds: int | None
    target_label: float | None
    target_class: str | None
    created_at: datetime
    updated_at: datetime

    def as_row(self) -> dict[str, object]:
        """Return column to value as SQLite holds it: naive UTC text, 0 and 1."""
        return {field.name: _stored(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trades:
    """N trades, opened at the close of an hour."""

    hour_N: Ints
    symbol_N: Ints
    side_N: Bytes8
    exit_price_N: Floats
    hold_h_N: Ints


def simulate(
    *,
    seed: int,
    n_samples: int,
    until: datetime,
    n_symbols: int = 5,
    days: int = 180,
    signal: float = 1.0,
) -> list[SimulatedSample]:
    """Return trades of the last `days` days before `until`, ordered by id; ids do not follow time.

    The same arguments give the same trades. What is still open at `until` has no outcome.
    """
    rng = np.random.default_rng(seed)
    # The last candle is that of `until`; beyond it the path only ends trades that are then still open.
    last_hour = WARM_UP_H + days * 24
    market = simulate_market(rng, hours=last_hour + HORIZON_H + 1, n_symbols=n_symbols, signal=signal)
    features_TSC = features_of(market)
    hour_N = rng.integers(WARM_UP_H, last_hour + 1, n_samples)
    symbol_N = rng.integers(0, n_symbols, n_samples)
    loyal_N = rng.random(n_samples) < _LOYALTY
    side_N = market.stance_TS[hour_N, symbol_N] * np.where(loyal_N, 1, -1).astype(np.int8)
    trades = _close(market, hour_N=hour_N, symbol_N=symbol_N, side_N=side_N)
    confidence_N = rng.uniform(0.55, 0.90, n_samples)
    names = orjson.dumps(FEATURE_NAMES).decode()
    samples = []
    for trade in range(n_samples):
        hour, symbol = int(trades.hour_N[trade]), int(trades.symbol_N[trade])
        decided_at = until.astimezone(UTC) - timedelta(hours=last_hour - hour)
        samples.append(
            _sample(
                trades,
                trade,
                symbol=_symbol(symbol),
                decided_at=decided_at,
                until=until,
                entry_price=float(market.close_TS[hour, symbol]),
                confidence=round(float(confidence_N[trade]), 4),
                features=orjson.dumps(features_TSC[hour, symbol].tolist()).decode(),
                feature_names=names,
            )
        )
    return samples


def _close(market: Market, *, hour_N: Ints, symbol_N: Ints, side_N: Bytes8) -> _Trades:
    """End each trade at the first barrier it meets; within one candle the stop is taken to come first."""
    entry_N = market.close_TS[hour_N, symbol_N]
    target_N, stop_N = entry_N * (1 + side_N * TAKE_PROFIT), entry_N * (1 - side_N * STOP_LOSS)
    exit_N = market.close_TS[hour_N + HORIZON_H, symbol_N]
    hold_N = np.full(len(hour_N), HORIZON_H, dtype=np.int64)
    open_N = np.ones(len(hour_N), dtype=np.bool_)
    for step in range(1, HORIZON_H + 1):
        high_N = market.high_TS[hour_N + step, symbol_N]
        low_N = market.low_TS[hour_N + step, symbol_N]
        stopped_N = open_N & np.where(side_N > 0, low_N <= stop_N, high_N >= stop_N)
        reached_N = open_N & ~stopped_N & np.where(side_N > 0, high_N >= target_N, low_N <= target_N)
        exit_N = np.where(stopped_N, stop_N, np.where(reached_N, target_N, exit_N))
        hold_N = np.where(stopped_N | reached_N, step, hold_N)
        open_N &= ~(stopped_N | reached_N)
    return _Trades(hour_N=hour_N, symbol_N=symbol_N, side_N=side_N, exit_price_N=exit_N, hold_h_N=hold_N)


def _sample(
    trades: _Trades,
    trade: int,
    *,
    symbol: str,
    decided_at: datetime,
    until: datetime,
    entry_price: float,
    confidence: float,
    features: str,
    feature_names: str,
) -> SimulatedSample:
    side = int(trades.side_N[trade])
    action = "BUY" if side > 0 else "SELL"
    exit_time = decided_at + timedelta(hours=int(trades.hold_h_N[trade]))
    known = exit_time <= until
    exit_price = float(trades.exit_price_N[trade])
    gain = side * (exit_price / entry_price - 1)
    pnl = round(STAKE * (gain - FEES), 2)
    return SimulatedSample(
        id=trade + 1,
        symbol=symbol,
        timestamp=decided_at,
        run_id=None,
        predicted_action=action,
        prediction_score=confidence,
        prediction_confidence=confidence,
        model_version="simulator",
        features=features,
        feature_names=feature_names,
        executed=True,
        execution_side=action,
        entry_price=entry_price,
        entry_quantity=STAKE / entry_price,
        entry_time=decided_at,
        outcome_known=known,
        exit_price=exit_price if known else None,
        exit_time=exit_time if known else None,
        realized_pnl=pnl if known else None,
        hold_duration_seconds=int(trades.hold_h_N[trade]) * 3600 if known else None,
        target_label=gain if known else None,
        target_class=_class_of(pnl) if known else None,
        created_at=decided_at,
        updated_at=exit_time if known else decided_at,
    )


def _class_of(pnl: float) -> str:
    if pnl > 0:
        return "WIN"
    return "LOSS" if pnl < 0 else "NEUTRAL"


def _symbol(number: int) -> str:
    return _SYMBOLS[number] if number < len(_SYMBOLS) else f"SIM{number:03d}USDT"


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime(_STORED)
    return int(value) if isinstance(value, bool) else value
