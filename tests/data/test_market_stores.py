"""The stores made from real candles, where they are at hand."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clm.clock import DAY, from_micros
from clm.data.audits import AuditPolicy, Severity, audit
from clm.data.dataset import build_dataset
from clm.data.reading import RAW_COLUMNS, RawSamples, parse_samples
from tests.data.rows import data_policy

STORE = Path(__file__).parents[3] / "shared" / "data" / "quantum_trader.db"

pytestmark = pytest.mark.needs_shared_data
POLICY = AuditPolicy(min_samples=500, max_bad_share=0.05, max_staleness_days=14)


@pytest.fixture(scope="module")
def dataset():
    with closing(sqlite3.connect(f"file:{STORE}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        rows = connection.execute(f"SELECT {', '.join(RAW_COLUMNS)} FROM ai_training_samples").fetchall()
    table = parse_samples(RawSamples(rows=rows), cutoff=from_micros(1_767_400_000_000_000))
    return build_dataset(table, data_policy(context_length=128))


def test_the_month_is_read_whole(dataset):
    """6,000 rows, five symbols, eight features, every outcome known, 60.6 % WIN."""
    table = dataset.table

    assert (len(table), table.rejected, table.unlabelled) == (6000, {}, {})
    assert len(table.symbols) == 5
    assert len(table.feature_names) == 8
    assert (table.outcome_R == 1).mean() == pytest.approx(0.606, abs=0.001)


def test_b8_the_ninety_nine_outcomes_against_the_profit_are_found(dataset):
    """The real store holds WINs that lost money."""
    finding, duplicates = audit(dataset, POLICY, from_micros(int(dataset.table.decided_at_R.max())))

    assert finding.name == "outcome_contradicts_pnl"
    assert finding.severity is Severity.WARN
    assert finding.rows == len(finding.sample_ids) == 99
    assert dataset.dropped["contradicts_profit"] == 99
    assert duplicates.name == "conflicting_duplicates"


def test_the_month_is_stale_a_month_later(dataset):
    """Nothing was written after 2025-12-30."""
    now = from_micros(int(dataset.table.decided_at_R.max()) + 31 * DAY)
    (finding,) = [finding for finding in audit(dataset, POLICY, now) if finding.name == "stale_store"]

    assert "2025-12-30 22:14" in finding.message
