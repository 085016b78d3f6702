"""Builders of raw rows and data sets for the tests of this folder."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import orjson

from clm.data.audits import AuditPolicy
from clm.data.dataset import DataPolicy, Dataset, build_dataset
from clm.data.reading import RAW_COLUMNS, RawSamples, parse_samples
from clm.data.simulator import simulate
from clm.data.splits import SplitPolicy
from clm.domain.sample import SampleTable

CUTOFF = datetime(2026, 1, 1, tzinfo=UTC)
SEED = 7
SIMULATED_DAYS = 90
NAMES = ("rsi", "volatility", "momentum")
POLICY = AuditPolicy(min_samples=100, max_bad_share=0.05, max_staleness_days=7)


def text(moment: datetime) -> str:
    """Write a moment as the store does: naive UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def raw_row(number: int = 1, **changes: object) -> tuple[object, ...]:
    """Return a good row of hour `number` after 2025-12-01, won by a BUY two hours later."""
    decided_at = datetime(2025, 12, 1, tzinfo=UTC) + timedelta(hours=number)
    row = {
        "id": number,
        "symbol": "BTCUSDT",
        "timestamp": text(decided_at),
        "features": orjson.dumps([50.0 + number % 7, 0.01 * (number % 5), -0.1 * number]).decode(),
        "feature_names": orjson.dumps(NAMES).decode(),
        "execution_side": "BUY",
        "entry_price": 100.0,
        "exit_price": 101.0,
        "exit_time": text(decided_at + timedelta(hours=2)),
        "outcome_known": 1,
        "realized_pnl": 1.0,
        "target_class": "WIN",
    }
    assert set(changes) <= set(row)
    row.update(changes)
    return tuple(row[column] for column in RAW_COLUMNS)


def parsed(rows: Iterable[tuple[object, ...]], features: tuple[str, ...] = ()) -> SampleTable:
    """Parse rows as known at CUTOFF."""
    return parse_samples(RawSamples(rows=tuple(rows)), cutoff=CUTOFF, features=features)


def data_policy(**changes: object) -> DataPolicy:
    """Return a policy with short windows."""
    values: dict[str, object] = {
        "context_length": 16,
        "target": "win",
        "features": (),
        "split": SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=1.0),
    }
    return DataPolicy(**{**values, **changes})  # type: ignore[arg-type]


@cache
def simulated_rows(
    *, seed: int = SEED, n_samples: int = 1500, signal: float = 1.0
) -> Sequence[dict[str, object]]:
    """Return rows of a simulated market that ends at CUTOFF; shared, so never change them."""
    return [
        sample.as_row()
        for sample in simulate(
            seed=seed, n_samples=n_samples, until=CUTOFF, days=SIMULATED_DAYS, signal=signal
        )
    ]


def dataset_of(rows: Iterable[dict[str, object]], **policy: object) -> Dataset:
    """Parse rows given by column and build a data set."""
    chosen = data_policy(**policy)
    raw = (tuple(row[column] for column in RAW_COLUMNS) for row in rows)
    return build_dataset(parsed(raw, chosen.features), chosen)
