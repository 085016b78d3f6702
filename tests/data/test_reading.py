"""Rows to a sample table: what is kept, what is history only, what is left out."""

import time
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR, to_micros
from clm.data.reading import RAW_COLUMNS
from clm.domain.sample import UNRESOLVED
from tests.data.rows import CUTOFF, parsed, raw_row, simulated_rows, text


def test_a_closed_trade_is_labelled():
    """The whole way of one good row."""
    table = parsed([raw_row(1, execution_side="SELL", target_class="LOSS", realized_pnl="-1.25")])

    assert (table.side_R[0], table.outcome_R[0], table.pnl_R[0]) == (-1, -1, -1.25)
    assert table.labelled_R[0]
    assert table.market_return_R[0] == pytest.approx(0.01)
    assert table.resolved_at_R[0] - table.decided_at_R[0] == 2 * HOUR


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"outcome_known": 0}, "open"),
        ({"outcome_known": None}, "open"),
        ({"exit_time": None}, "bad_exit_time"),
        ({"exit_time": "soon"}, "bad_exit_time"),
        ({"target_class": None}, "bad_target_class"),
        ({"target_class": "maybe"}, "bad_target_class"),
        ({"target_class": "1"}, "bad_target_class"),
        ({"target_class": 1}, "bad_target_class"),
        ({"exit_time": text(CUTOFF + timedelta(microseconds=1))}, "resolved_after_cutoff"),
    ],
)
def test_a_row_without_a_known_outcome_stays_as_history(changes, reason):
    """Its features are real; only its label is not."""
    table = parsed([raw_row(1, **changes)])

    assert len(table) == 1
    assert table.unlabelled == {reason: 1}
    assert table.resolved_at_R[0] == UNRESOLVED
    assert table.outcome_R[0] == 0
    assert np.isnan(table.pnl_R[0])
    assert np.isnan(table.market_return_R[0])


def test_an_outcome_known_exactly_at_the_cutoff_counts():
    """The bound is the moment itself, to the microsecond."""
    assert parsed([raw_row(1, exit_time=text(CUTOFF))]).labelled_R[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "bad_id"),
        ({"id": "1"}, "bad_id"),
        ({"id": True}, "bad_id"),
        ({"id": 2**63}, "bad_id"),
        ({"symbol": None}, "bad_symbol"),
        ({"symbol": b"\xff1"}, "bad_symbol"),
        ({"symbol": "\ud800"}, "bad_symbol"),
        ({"timestamp": None}, "bad_timestamp"),
        ({"timestamp": "1970-01-01 00:00:00"}, "bad_timestamp"),
        ({"timestamp": text(CUTOFF + timedelta(microseconds=1)), "exit_time": None}, "future"),
        ({"exit_time": "2025-12-01 00:59:59.999999"}, "exit_not_after_decision"),
        ({"exit_time": "2025-12-01 01:00:00"}, "exit_not_after_decision"),
        ({"exit_time": "2025-11-01 01:00:00", "outcome_known": 0}, "exit_not_after_decision"),
        ({"execution_side": "up"}, "bad_side"),
        ({"execution_side": 1}, "bad_side"),
        ({"outcome_known": "perhaps"}, "bad_outcome_known"),
        ({"outcome_known": 2}, "bad_outcome_known"),
    ],
)
def test_b5_b7_a_row_that_contradicts_itself_is_left_out_by_reason(changes, reason):
    """SQLite enforces no types, and clocks go wrong."""
    table = parsed([raw_row(1, **changes), raw_row(2)])

    assert table.sample_id_R.tolist() == [2]
    assert table.rejected == {reason: 1}


@pytest.mark.parametrize(
    "value", [None, "abc", float("inf"), float("nan"), "nan", "1e999", b"\xff", True, [1]]
)
def test_b5_a_figure_that_is_no_number_is_unknown_never_zero(value):
    """Text and infinities lie in FLOAT columns; a sample is still good for learning."""
    table = parsed([raw_row(1, realized_pnl=value, entry_price=value)])

    assert table.labelled_R[0]
    assert np.isnan(table.pnl_R[0])
    assert np.isnan(table.market_return_R[0])


def test_an_unreadable_value_is_counted_with_an_example():
    """A refusal without a value sends people to the wrong column."""
    changes = [
        {"execution_side": "up"},
        {"target_class": "1"},
        {"exit_time": "soon"},
        {"realized_pnl": "3 USDT"},
    ]
    table = parsed([raw_row(number, **change) for number, change in enumerate(changes, start=1)])

    assert table.rejected == {"bad_side": 1}
    assert table.unlabelled == {"bad_exit_time": 1, "bad_target_class": 1}
    assert table.odd_figures == {"bad_realized_pnl": 1}
    assert table.examples == {
        "bad_side": "'up'",
        "bad_target_class": "'1'",
        "bad_exit_time": "'soon'",
        "bad_realized_pnl": "'3 USDT'",
    }


def test_one_market_under_two_spellings_is_one_symbol_and_both_are_known():
    """Windows of half of a market's samples are windows of nothing."""
    table = parsed(
        [raw_row(1, symbol="BTCUSDT"), raw_row(2, symbol="btc/usdt"), raw_row(3, symbol="ETHUSDT")]
    )

    assert table.symbols == ("BTCUSDT", "ETHUSDT")
    assert table.spellings == {"BTCUSDT": ("BTCUSDT", "btc/usdt")}


@pytest.mark.parametrize("symbol", ["'; DROP TABLE x; --", "🚀" * 10, "A" * 10_000, "A\x00"])
def test_b14_a_hostile_symbol_is_a_symbol_of_its_own(symbol):
    """A name is only a name; one with a trailing NUL is not the one without."""
    table = parsed([raw_row(1, symbol=symbol), raw_row(2, symbol="A")])

    assert table.symbols == tuple(sorted([symbol, "A"]))
    assert len(set(table.symbol_R.tolist())) == 2


def test_b7_rows_are_ordered_by_symbol_time_and_id_whatever_their_order_in_the_store():
    """Ids do not follow time, and several rows share an hour."""
    rows = [
        raw_row(5, symbol="ETHUSDT"),
        raw_row(3, timestamp="2025-12-01 09:00:00", exit_time=None),
        raw_row(1, timestamp="2025-12-01 09:00:00", exit_time=None),
        raw_row(2, timestamp="2025-12-01 08:00:00", exit_time=None),
    ]

    assert parsed(rows).sample_id_R.tolist() == [2, 1, 3, 5]


def test_no_rows_give_an_empty_table():
    """An empty store is for the audits to judge."""
    table = parsed([])

    assert len(table) == 0
    assert table.features_RC.shape == (0, 0)
    assert table.rows_read == 0


cells = st.none() | st.text(max_size=8) | st.binary(max_size=8) | st.floats() | st.integers() | st.booleans()


@given(st.lists(st.dictionaries(st.sampled_from(RAW_COLUMNS), cells, max_size=3), max_size=8))
@settings(max_examples=200, deadline=None)
def test_b5_b6_no_cell_makes_the_reading_raise_and_the_counts_add_up(changes):
    """Whatever lies in a row, the row is used or counted."""
    table = parsed([raw_row(n, **change) for n, change in enumerate(changes, 1)])

    assert table.rows_read == len(changes) == len(table) + sum(table.rejected.values())
    assert int(table.labelled_R.sum()) + sum(table.unlabelled.values()) == len(table)
    labelled_R = table.labelled_R
    assert (table.decided_at_R[labelled_R] < table.resolved_at_R[labelled_R]).all()
    assert (table.resolved_at_R[labelled_R] <= to_micros(CUTOFF)).all()


def test_thirty_thousand_rows_are_read_well_under_a_second():
    """Reading is what happens before every cycle; processor time, as machines are busy."""
    rows = [tuple(row[column] for column in RAW_COLUMNS) for row in simulated_rows()] * 20
    began = time.process_time()
    table = parsed(rows)

    assert len(table) == 30_000
    assert time.process_time() - began < 2.0
