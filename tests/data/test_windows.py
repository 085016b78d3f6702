"""Windows as row indices."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.data.windows import gather, window_ends
from tests.data.rows import parsed, raw_row


@given(
    rows=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 30), st.booleans()), max_size=40),
    context_length=st.integers(1, 8),
)
@settings(deadline=None)
def test_a_window_holds_rows_of_one_symbol_and_nothing_decided_later(rows, context_length):
    """A row from after the decision, or of another market, would be a look into the future."""
    table = parsed(
        raw_row(hour, id=number, symbol=symbol, outcome_known=int(known))
        for number, (symbol, hour, known) in enumerate(rows)
    )
    ends_N = window_ends(table, table.labelled_R, context_length)

    for end in ends_N.tolist():
        window = slice(end - context_length + 1, end + 1)
        assert window.start >= 0
        assert set(table.symbol_R[window].tolist()) == {table.symbol_R[end]}
        assert (table.decided_at_R[window] <= table.decided_at_R[end]).all()
        assert table.labelled_R[end]

    for row in np.flatnonzero(table.labelled_R).tolist():
        enough = (table.symbol_R[: row + 1] == table.symbol_R[row]).sum() >= context_length
        assert (row in ends_N) == enough


def test_a_window_reads_oldest_first_and_ends_at_its_row():
    """The model reads time from left to right."""
    features_RC = np.arange(10.0).reshape(5, 2)

    x_NLC = gather(features_RC, np.array([2, 4]), 3)

    assert x_NLC.tolist() == [[[0, 1], [2, 3], [4, 5]], [[4, 5], [6, 7], [8, 9]]]
