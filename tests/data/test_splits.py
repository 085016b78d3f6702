"""The split by time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR
from clm.data.splits import SplitPolicy, split_by_time

POLICY = SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=2.0)


def split(decided_h, held_h, policy=POLICY):
    decided_N = np.array(decided_h, dtype=np.int64) * HOUR
    return split_by_time(decided_N, decided_N + np.array(held_h, dtype=np.int64) * HOUR, policy)


@given(
    windows=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=120),
    train_share=st.floats(0.05, 0.8),
    validation_share=st.floats(0.05, 0.4),
    embargo_h=st.floats(0, 30),
)
@settings(max_examples=200, deadline=None)
def test_no_interval_of_one_part_meets_another_part(windows, train_share, validation_share, embargo_h):
    """A label that was known only inside a later part would carry that part's market into training."""
    policy = SplitPolicy(train_share=train_share, validation_share=validation_share, embargo_h=embargo_h)
    decided_N = np.array([hour * HOUR for hour, _ in windows], dtype=np.int64)
    resolved_N = np.array([(hour + held) * HOUR for hour, held in windows], dtype=np.int64)
    parts = split_by_time(decided_N, resolved_N, policy)

    embargo = round(embargo_h * HOUR)
    assert (resolved_N[parts.train] <= parts.validation_starts_at).all()
    assert (decided_N[parts.validation] >= parts.validation_starts_at + embargo).all()
    assert (resolved_N[parts.validation] <= parts.test_starts_at).all()
    assert (decided_N[parts.test] >= parts.test_starts_at + embargo).all()
    assert parts.validation_starts_at <= parts.test_starts_at

    used = np.concatenate([parts.train, parts.validation, parts.test])
    assert len(set(used.tolist())) == len(used)
    assert len(used) + parts.purged + parts.embargoed == len(windows)
    for part in (parts.train, parts.validation, parts.test):
        assert (np.diff(decided_N[part]) >= 0).all()


def test_the_shares_are_those_of_the_policy():
    """Cuts lie where 70 % and 85 % of the windows were decided before."""
    parts = split(range(1000), [1] * 1000, SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=0))

    assert (len(parts.train), len(parts.validation), len(parts.test)) == (700, 150, 150)
    assert (parts.purged, parts.embargoed) == (0, 0)


def test_a_label_that_was_known_too_late_is_purged():
    """One microsecond over the cut is over the cut."""
    held = [1] * 100
    held[60] = 11  # decided at hour 60, the cut is at hour 70
    parts = split(range(100), held, SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=0))

    assert 60 not in parts.train
    assert parts.purged == 1

    held[80] = 6  # decided at hour 80, the test part starts at hour 85
    parts = split(range(100), held, SplitPolicy(train_share=0.7, validation_share=0.15, embargo_h=0))

    assert 80 not in parts.validation
    assert (parts.purged, parts.embargoed) == (2, 0)


def test_what_follows_a_cut_is_embargoed():
    """Neighbouring hours resemble each other more than their label intervals show."""
    parts = split(range(100), [1] * 100)

    assert parts.embargoed == 4
    assert parts.validation[0] == 72
    assert parts.test[0] == 87


def test_windows_of_one_moment_never_straddle_a_cut():
    """Several rows share an hour; the same market must not stand on both sides."""
    parts = split(
        [hour // 7 for hour in range(100)],
        [1] * 100,
        SplitPolicy(train_share=0.5, validation_share=0.25, embargo_h=0),
    )
    hours = [{n // 7 for n in part.tolist()} for part in (parts.train, parts.validation, parts.test)]

    assert not hours[0] & hours[1]
    assert not hours[1] & hours[2]
    assert parts.test_starts_at % HOUR == 0


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_hardly_any_windows_give_hardly_any_parts(n):
    """An empty part is for the audits to judge."""
    parts = split(range(n), [1] * n)

    assert len(parts.train) + len(parts.validation) + len(parts.test) + parts.purged + parts.embargoed == n
