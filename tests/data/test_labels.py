"""The two targets."""

import pytest

from clm.data.labels import TARGETS, label
from clm.domain.sample import UNRESOLVED
from tests.data.rows import parsed, raw_row

CASES = [
    # side, class, label of win, label of direction (None: the target says nothing)
    ("BUY", "WIN", 1, 1),
    ("BUY", "LOSS", 0, 0),
    ("SELL", "WIN", 1, 0),
    ("SELL", "LOSS", 0, 1),
    ("BUY", "NEUTRAL", 0, None),
    ("SELL", "NEUTRAL", 0, None),
    (None, "WIN", 1, None),
    ("HOLD", "LOSS", 0, None),
]


@pytest.mark.parametrize(("side", "outcome", "win", "direction"), CASES)
def test_a_target_means_what_it_says(side, outcome, win, direction):
    """A winning SELL is a WIN and a market that fell; mixing the two teaches the wrong action."""
    table = parsed([raw_row(1, execution_side=side, target_class=outcome)])

    for target, expected in (("win", win), ("direction", direction)):
        labels = label(table, target)
        assert labels.known_R.tolist() == [expected is not None]
        assert labels.undefined == int(expected is None)
        if expected is not None:
            assert labels.label_R.tolist() == [expected]


@pytest.mark.parametrize("target", TARGETS)
def test_an_open_trade_has_no_label_under_any_target(target):
    """What is not known yet is not 0."""
    table = parsed([raw_row(1, outcome_known=0)])

    assert table.resolved_at_R[0] == UNRESOLVED
    assert not label(table, target).known_R.any()
    assert label(table, target).undefined == 0
