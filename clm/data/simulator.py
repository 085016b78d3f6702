"""A simulated history of trades in the shape of `ai_training_samples`, seeded and with known signal.

Trades are opened at random hours, mostly on the side that traders take, and closed by a take-profit, a stop
or the clock. In a lively market prices follow the traders, in a dull one they do not: volatility and volume
separate WIN from LOSS, in the measure of `signal`. At signal 0 no feature predicts anything.
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
_FEATURE_NAMES_JSON = orjson.dumps(FEATURE_NAMES).decode()
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
class _Trade:
    """One trade, opened at the close of an hour."""

    symbol: str
    side: int
    """+1 for BUY, -1 for SELL."""
    decided_at: datetime
    entry_price: float
    exit_price: float
    hold_h: int

    @property
    def exit_time(self) -> datetime:
        return self.decided_at + timedelta(hours=self.hold_h)

    @property
    def gain(self) -> float:
        return self.side * (self.exit_price / self.entry_price - 1)

    @property
    def pnl(self) -> float:
        return round(STAKE * (self.gain - FEES), 2)


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
    exit_price_N, hold_h_N = _close(market, hour_N=hour_N, symbol_N=symbol_N, side_N=side_N)
    confidence_N = rng.uniform(0.55, 0.90, n_samples)
    samples = []
    for number in range(n_samples):
        hour, symbol = int(hour_N[number]), int(symbol_N[number])
        trade = _Trade(
            symbol=_symbol(symbol),
            side=int(side_N[number]),
            decided_at=until.astimezone(UTC) - timedelta(hours=last_hour - hour),
            entry_price=float(market.close_TS[hour, symbol]),
            exit_price=float(exit_price_N[number]),
            hold_h=int(hold_h_N[number]),
        )
        confidence = round(float(confidence_N[number]), 4)
        features = orjson.dumps(features_TSC[hour, symbol].tolist()).decode()
        samples.append(_sample(number + 1, trade, confidence, features, until))
    return samples


def _close(market: Market, *, hour_N: Ints, symbol_N: Ints, side_N: Bytes8) -> tuple[Floats, Ints]:
    """Return exit price and duration in hours of each trade.

    A trade ends at the first barrier it meets; within one candle the stop is taken to come first.
    """
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
    return exit_N, hold_N


def _sample(number: int, trade: _Trade, confidence: float, features: str, until: datetime) -> SimulatedSample:
    """Return the row of a trade as the store holds it at `until`: without its outcome if it is still open."""
    action, known = "BUY" if trade.side > 0 else "SELL", trade.exit_time <= until
    return SimulatedSample(
        id=number,
        symbol=trade.symbol,
        timestamp=trade.decided_at,
        run_id=None,
        predicted_action=action,
        prediction_score=confidence,
        prediction_confidence=confidence,
        model_version="simulator",
        features=features,
        feature_names=_FEATURE_NAMES_JSON,
        executed=True,
        execution_side=action,
        entry_price=trade.entry_price,
        entry_quantity=STAKE / trade.entry_price,
        entry_time=trade.decided_at,
        outcome_known=known,
        exit_price=trade.exit_price if known else None,
        exit_time=trade.exit_time if known else None,
        realized_pnl=trade.pnl if known else None,
        hold_duration_seconds=trade.hold_h * 3600 if known else None,
        target_label=trade.gain if known else None,
        target_class=_class_of(trade.pnl) if known else None,
        created_at=trade.decided_at,
        updated_at=trade.exit_time if known else trade.decided_at,
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
