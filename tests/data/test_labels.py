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


def contradictory():
    return parsed(
        [
            raw_row(1, target_class="WIN", realized_pnl=1.0),
            raw_row(2, target_class="WIN", realized_pnl=-1.3),
            raw_row(3, target_class="LOSS", realized_pnl=0.7),
            raw_row(4, target_class="WIN", realized_pnl=None),
            raw_row(5, target_class="NEUTRAL", realized_pnl=-0.1),
        ]
    )


@pytest.mark.parametrize(
    ("contradictions", "known", "labels_of_all", "left_out", "relabelled"),
    [
        ("keep", [1, 1, 1, 1, 1], [1, 1, 0, 1, 0], 0, 0),
        ("drop", [1, 0, 0, 1, 1], [1, 0, 0, 1, 0], 2, 0),
        ("relabel", [1, 1, 1, 1, 1], [1, 0, 1, 1, 0], 0, 2),
    ],
)
def test_b8_what_becomes_of_an_outcome_against_the_profit_is_a_policy(
    contradictions, known, labels_of_all, left_out, relabelled
):
    """A profit that is not known, and a NEUTRAL, contradict nothing; nothing is changed uncounted."""
    labels = label(contradictory(), "win", contradictions)

    assert labels.known_R.astype(int).tolist() == known
    assert labels.label_R.tolist() == labels_of_all
    assert (labels.left_out, labels.relabelled, labels.undefined) == (left_out, relabelled, 0)


def test_b8_a_relabelled_trade_has_the_direction_of_its_profit():
    """The direction is read from the outcome that is believed."""
    labels = label(contradictory(), "direction", "relabel")

    assert labels.label_R.tolist() == [1, 0, 1, 1, 0]
    assert labels.undefined == 1
