"""Stores of a simulated market with exactly one fault each, for the audits to find."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from clm.data.market import FEATURE_NAMES, WARM_UP_H, features_of, simulate_market
from clm.data.simulator import HORIZON_H
from tests.data.rows import CUTOFF, SEED, SIMULATED_DAYS, simulated_rows, text

Row = dict[str, object]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A store with one fault, and the audit that has to name it."""

    audit: str
    plant: Callable[[], Rows]
    policy: Mapping[str, object] = field(default_factory=dict)
    """Where the fault lies in what was asked for, not in the rows."""
    blocks: bool = False


def clean() -> Rows:
    """The store without a fault."""
    return simulated_rows()


def each(change: Callable[[Row], Row]) -> Rows:
    """Every row, changed."""
    return [{**row, **change(row)} for row in clean()]


def every(n: int, change: Callable[[Row], Row]) -> Rows:
    """Every n-th row changed, the others as they were."""
    return each(lambda row: change(row) if row["id"] % n == 0 else {})


def since(days: float, change: Callable[[Row], Row]) -> Rows:
    """The rows of the last days changed."""
    begin = text(CUTOFF - timedelta(days=days))
    return each(lambda row: change(row) if row["timestamp"] >= begin else {})


def features(change: Callable[[Row, dict[str, float]], Mapping[str, float]]) -> Callable[[Row], Row]:
    """A change of the features, given and returned as name to number."""

    def one(row: Row) -> Row:
        by_name = dict(zip(json.loads(row["feature_names"]), json.loads(row["features"]), strict=True))
        changed = change(row, by_name)
        return {"features": json.dumps([*changed.values()]), "feature_names": json.dumps([*changed])}

    return one


def outcome(won: bool) -> Row:
    """The columns that say how a trade ended, in agreement."""
    return {"target_class": "WIN" if won else "LOSS", "realized_pnl": 0.52 if won else -1.88}


def rose(row: Row) -> bool:
    """Whether the market rose over the trade."""
    return bool(row["exit_price"]) and row["exit_price"] > row["entry_price"]


def _hardly_a_loss(row: Row) -> Row:
    if row["target_class"] == "WIN" or not row["exit_price"] or row["id"] % 6 == 0:
        return {}
    gain = 0.006 if row["execution_side"] == "BUY" else -0.006
    return {**outcome(won=True), "exit_price": row["entry_price"] * (1 + gain)}


def _one_row_a_symbol() -> Rows:
    seen: dict[object, object] = {}
    return each(features(lambda row, named: seen.setdefault(row["symbol"], named)))


def _written_twice() -> Rows:
    again = [
        {**row, "id": row["id"] + 10_000, **outcome(row["target_class"] != "WIN")}
        for row in clean()
        if row["id"] % 20 == 0 and row["target_class"] in ("WIN", "LOSS")
    ]
    return [*clean(), *again]


def _hours_late() -> Rows:
    """Features as they were when the trade ended, stored with the decision."""
    rng = np.random.default_rng(SEED)
    last_hour = WARM_UP_H + SIMULATED_DAYS * 24
    market = simulate_market(rng, hours=last_hour + HORIZON_H + 1, n_symbols=5, signal=1.0)
    features_TSC = features_of(market)
    symbols = sorted({row["symbol"] for row in clean()})

    def late(row: Row) -> Row:
        decided_at = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=CUTOFF.tzinfo)
        hour = last_hour - round((CUTOFF - decided_at) / timedelta(hours=1))
        end = min(hour + round((row["hold_duration_seconds"] or 0) / 3600), len(features_TSC) - 1)
        return {"features": json.dumps(features_TSC[end, symbols.index(row["symbol"])].tolist())}

    return each(late)


def _mixed_of_two(row: Row, named: dict[str, float]) -> Mapping[str, float]:
    first, second = (named["rsi"] - 50) / 15, named["volume_ratio"] - 1
    angles = np.linspace(0, np.pi, len(FEATURE_NAMES), endpoint=False) + 0.1
    return {
        name: np.cos(a) * first + np.sin(a) * second for name, a in zip(FEATURE_NAMES, angles, strict=True)
    }


def _four_copied_to_eight(row: Row, named: dict[str, float]) -> Mapping[str, float]:
    four = [named[name] for name in ("rsi", "volatility", "returns_1h", "volume_ratio")]
    return dict(zip(FEATURE_NAMES, [*four, *four], strict=True))


def _longer(days: int) -> Callable[[Row], Row]:
    def change(row: Row) -> Row:
        if not row["exit_time"]:
            return {}
        ended = datetime.fromisoformat(row["exit_time"]) + timedelta(days=days)
        known = ended.replace(tzinfo=CUTOFF.tzinfo) <= CUTOFF
        return {"exit_time": text(ended), "outcome_known": int(known)}

    return change


PLANTED: Mapping[str, Fault] = {
    # what was asked for
    "a feature that nobody writes": Fault(
        audit="unknown_features", plant=clean, policy={"features": ("rsi", "rsi_14")}, blocks=True
    ),
    "eleven features": Fault(
        audit="too_many_features",
        plant=lambda: each(
            features(lambda row, f: {**f, "a": row["id"] % 3, "b": row["id"] % 5, "c": row["id"] % 7})
        ),
        blocks=True,
    ),
    # rows
    "broken JSON": Fault(audit="bad_rows", plant=lambda: every(50, lambda row: {"features": "[NaN]"})),
    "features missing": Fault(
        audit="bad_rows", plant=lambda: every(10, lambda row: {"features": "null"}), blocks=True
    ),
    "an exit before the decision": Fault(
        audit="label_intervals",
        plant=lambda: every(50, lambda row: {"exit_time": text(CUTOFF - timedelta(days=99))}),
    ),
    "exits in another time zone": Fault(
        audit="label_intervals",
        plant=lambda: each(
            lambda row: (
                {"exit_time": text(datetime.fromisoformat(row["exit_time"]) - timedelta(hours=3))}
                if row["exit_time"]
                else {}
            )
        ),
        blocks=True,
    ),
    "features of another time": Fault(
        audit="other_features",
        plant=lambda: each(
            lambda row: (
                {"features": "[1, 2]", "feature_names": '["rsi", "macd"]'}
                if row["timestamp"] < text(CUTOFF - timedelta(days=85))
                else {}
            )
        ),
    ),
    "a clock that is ahead": Fault(
        audit="future_rows",
        plant=lambda: every(
            50, lambda row: {"timestamp": text(CUTOFF + timedelta(hours=1)), "exit_time": None}
        ),
    ),
    # leaks
    "the profit among the features": Fault(
        audit="outcome_among_features",
        plant=lambda: each(
            features(
                lambda row, f: {
                    **{name: value for name, value in f.items() if name != "macd"},
                    "realized_pnl": row["realized_pnl"] or 0.0,
                }
            )
        ),
        blocks=True,
    ),
    "the profit under another name": Fault(
        audit="feature_knows_outcome",
        plant=lambda: each(
            features(lambda row, f: {**f, "macd": (row["realized_pnl"] or 0.0) + 0.3 * np.sin(row["id"])})
        ),
        blocks=True,
    ),
    "features computed when the trade ended": Fault(
        audit="feature_of_the_future", plant=_hours_late, blocks=True
    ),
    # labels
    "only losses in the end": Fault(
        audit="single_class", plant=lambda: since(18, lambda row: outcome(won=False)), blocks=True
    ),
    "SELLs labelled like BUYs": Fault(
        audit="label_ignores_side", plant=lambda: each(lambda row: outcome(rose(row)))
    ),
    "a few outcomes against the profit": Fault(
        audit="outcome_contradicts_pnl",
        plant=lambda: every(100, lambda row: {"realized_pnl": -1.3 if row["target_class"] == "WIN" else 1.3}),
    ),
    "many outcomes against the profit": Fault(
        audit="outcome_contradicts_pnl",
        plant=lambda: every(10, lambda row: {"realized_pnl": -1.3 if row["target_class"] == "WIN" else 1.3}),
    ),
    "outcomes in other words": Fault(
        audit="unusable_outcomes", plant=lambda: every(40, lambda row: {"target_class": "1"})
    ),
    "half of the outcomes in other words": Fault(
        audit="unusable_outcomes", plant=lambda: every(2, lambda row: {"target_class": "1"}), blocks=True
    ),
    "profits with a unit": Fault(
        audit="unreadable_figures",
        plant=lambda: every(20, lambda row: {"realized_pnl": f"{row['realized_pnl']} USDT"}),
    ),
    "prices of 0": Fault(
        audit="foresight_unmeasured", plant=lambda: each(lambda row: {"entry_price": 0}), blocks=True
    ),
    "one market under two names": Fault(
        audit="symbol_spellings", plant=lambda: every(2, lambda row: {"symbol": f" {row['symbol'].lower()}"})
    ),
    "sides in a word of their own": Fault(
        audit="bad_rows", plant=lambda: every(10, lambda row: {"execution_side": "up"}), blocks=True
    ),
    "decisions written twice": Fault(audit="conflicting_duplicates", plant=_written_twice),
    "hardly a loss": Fault(audit="class_imbalance", plant=lambda: each(_hardly_a_loss)),
    # features
    "one feature stands still": Fault(
        audit="constant_features", plant=lambda: each(features(lambda _, f: {**f, "rsi": 50.0}))
    ),
    "all features stand still": Fault(
        audit="constant_features",
        plant=lambda: each(features(lambda _, f: dict.fromkeys(f, 0.1))),
        blocks=True,
    ),
    "windows of one repeated row": Fault(audit="constant_windows", plant=_one_row_a_symbol, blocks=True),
    "one absurd value": Fault(
        audit="spikes",
        plant=lambda: each(features(lambda row, f: {**f, "rsi": 1e9} if row["id"] == 700 else f)),
    ),
    "a missing feature filled with 0": Fault(
        audit="zero_filled_features",
        plant=lambda: each(features(lambda row, f: {**f, "volume_ratio": 0.0} if row["id"] % 5 == 0 else f)),
    ),
    "four features copied to eight": Fault(
        audit="duplicated_features", plant=lambda: each(features(_four_copied_to_eight))
    ),
    "eight features mixed of two": Fault(
        audit="low_effective_rank", plant=lambda: each(features(_mixed_of_two))
    ),
    "volume in units": Fault(
        audit="features_of_other_scale",
        plant=lambda: each(features(lambda _, f: {**f, "volume_ratio": 1e9 * f["volume_ratio"]})),
    ),
    # amount and time
    "outcomes that take weeks": Fault(audit="purge_takes_too_much", plant=lambda: each(_longer(days=10))),
    "one symbol": Fault(
        audit="one_symbol", plant=lambda: [row for row in clean() if row["symbol"] == "BTCUSDT"]
    ),
    "a symbol that ended": Fault(
        audit="uncovered_symbols",
        plant=lambda: [
            row
            for row in clean()
            if row["symbol"] != "ADAUSDT" or row["timestamp"] < text(CUTOFF - timedelta(days=30))
        ],
    ),
    "hardly an outcome": Fault(
        audit="too_few_samples",
        plant=lambda: each(lambda row: {"outcome_known": int(row["id"] % 20 == 0)}),
        blocks=True,
    ),
    "no samples any more": Fault(
        audit="stale_store",
        plant=lambda: [row for row in clean() if row["timestamp"] < text(CUTOFF - timedelta(days=8))],
    ),
    "a feature that changed its unit": Fault(
        audit="train_test_drift",
        plant=lambda: since(14, features(lambda _, f: {**f, "rsi": f["rsi"] / 100})),
    ),
}
