"""Read the store: rows, windows, parts, and what the audits find in them."""

from datetime import datetime, timedelta

from clm.data.audits import audit
from clm.data.dataset import Dataset, build_dataset
from clm.data.reading import parse_samples
from clm.ports import CandleSource, SampleSource
from clm.steps.results import Data
from clm.steps.world import Cycle, Policies


def read(cycle: Cycle) -> Data:
    """Return the data set as of the start of the run, and what the audits found.

    Raises:
        DataError: the store or the candles cannot be read.
        StoreBusy: the store's lock was held for too long.
    """
    world, policies, now = cycle.world, cycle.policies, cycle.run.started_at
    dataset = read_dataset(world.source, world.candles, policies, now)
    findings = audit(dataset, policies.audit, now)
    return Data(dataset=dataset, findings=findings, class_weights=policies.training.class_weights)


def read_dataset(
    source: SampleSource, candles: CandleSource | None, policies: Policies, now: datetime
) -> Dataset:
    """Return what is known at `now`, cut into windows and parts, without audits.

    Raises:
        DataError: the store or the candles cannot be read.
        StoreBusy: the store's lock was held for too long.
    """
    newest = source.newest()
    known = min(newest, now) if newest else None  # `now` may be a moment of the past
    since = known - timedelta(days=policies.history_days) if known and policies.history_days else None
    raw = source.read(since, policies.max_rows)
    table = parse_samples(raw, cutoff=now, features=policies.data.sample_features)
    wanted = policies.data.window_source == "candles"
    return build_dataset(table, policies.data, candles.read() if candles and wanted else None)
