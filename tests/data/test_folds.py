"""Splits that walk forward, and an independent implementation to hold them against."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR
from clm.data.splits import Split, SplitPolicy, split_by_time, walk_forward

WINDOWS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=150)
SHARES = st.tuples(st.floats(0.3, 0.7), st.floats(0.05, 0.2))


def times(windows):
    decided_N = np.array([hour for hour, _ in windows], dtype=np.int64) * HOUR
    return decided_N, decided_N + np.array([held for _, held in windows], dtype=np.int64) * HOUR


def policy(shares=(0.5, 0.1), *, embargo_h=0.0, folds=3):
    return SplitPolicy(train_share=shares[0], validation_share=shares[1], embargo_h=embargo_h, folds=folds)


@given(windows=WINDOWS, shares=SHARES, embargo_h=st.floats(0, 30), folds=st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_in_no_fold_does_a_training_interval_meet_a_later_part(windows, shares, embargo_h, folds):
    """A label known only after the cut carries what came after it into training."""
    decided_N, resolved_N = times(windows)
    cut = walk_forward(decided_N, resolved_N, policy(shares, embargo_h=embargo_h, folds=folds))

    assert len(cut) == folds
    for fold in cut:
        for earlier, later in (
            (fold.train, fold.validation),
            (fold.train, fold.test),
            (fold.validation, fold.test),
        ):
            if len(earlier) and len(later):
                assert resolved_N[earlier].max() + round(embargo_h * HOUR) <= decided_N[later].min()
        used = np.concatenate([fold.train, fold.validation, fold.test])
        assert len(set(used.tolist())) == len(used)


@given(windows=WINDOWS, shares=SHARES, folds=st.integers(2, 8))
@settings(max_examples=100, deadline=None)
def test_test_parts_stand_one_behind_the_other(windows, shares, folds):
    """A window is tested once, and folds come in the order of time."""
    decided_N, resolved_N = times(windows)
    cut = walk_forward(decided_N, resolved_N, policy(shares, folds=folds))

    tested = [fold.test for fold in cut if len(fold.test)]
    for earlier, later in pairwise(tested):
        assert decided_N[earlier].max() < decided_N[later].min()
    starts = [(fold.validation_starts_at, fold.test_starts_at) for fold in cut]
    assert starts == sorted(starts)


@given(windows=WINDOWS, shares=SHARES, folds=st.integers(2, 8))
@settings(max_examples=100, deadline=None)
def test_a_fold_knows_nothing_of_the_folds_after_it(windows, shares, folds):
    """It is made of the windows up to its end; what came later could be taken away."""
    decided_N, resolved_N = times(windows)
    cut = walk_forward(decided_N, resolved_N, policy(shares, folds=folds))

    for fold, after in pairwise(cut):
        used = np.concatenate([fold.train, fold.validation, fold.test])
        assert (decided_N[used] < after.test_starts_at).all()
        assert len(used) + fold.purged + fold.embargoed == int((decided_N < after.test_starts_at).sum())


@given(windows=WINDOWS, shares=SHARES, folds=st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_the_last_fold_is_the_split_whatever_comes_before(windows, shares, folds):
    """More folds must not change the model."""
    decided_N, resolved_N = times(windows)
    last = walk_forward(decided_N, resolved_N, policy(shares, folds=folds))[-1]

    same(last, split_by_time(decided_N, resolved_N, policy(shares, folds=folds)))
    same(last, walk_forward(decided_N, resolved_N, policy(shares, folds=1))[0])


@given(windows=WINDOWS, seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_rows_does_not_matter(windows, seed):
    """The same windows by another name are in the same parts."""
    decided_N, resolved_N = times(windows)
    order = np.random.default_rng(seed).permutation(len(windows))
    plain = walk_forward(decided_N, resolved_N, policy())
    mixed = walk_forward(decided_N[order], resolved_N[order], policy())

    for fold, other in zip(plain, mixed, strict=True):
        for name in ("train", "validation", "test"):
            assert sorted(getattr(fold, name).tolist()) == sorted(order[getattr(other, name)].tolist())


def test_folds_step_back_by_the_length_of_a_test_part():
    """0.5, 0.1 and 0.4 of 100 hours: the fold before ends where the test part of the last one begins."""
    decided_N = np.arange(100) * HOUR
    first, last = walk_forward(decided_N, decided_N + 1, policy(folds=2))

    assert [len(part) for part in (last.train, last.validation, last.test)] == [50, 10, 40]
    assert [len(part) for part in (first.train, first.validation, first.test)] == [10, 10, 40]
    assert first.test.tolist() == list(range(20, 60))
    assert (first.purged, first.embargoed) == (0, 0)


def same(one: Split, other: Split) -> None:
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert replace(one, train=None, validation=None, test=None) == replace(
        other, train=None, validation=None, test=None
    )


@pytest.fixture(scope="module")
def purgedcv():
    return pytest.importorskip("purgedcv")


@given(windows=WINDOWS.filter(lambda windows: len(windows) > 4), shares=SHARES, folds=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_purge_is_that_of_an_independent_implementation(purgedcv, windows, shares, folds):
    """purgedcv drops a row whose half-open label interval meets that of a later part; we purge by the cut.

    A cut lies where something was decided, so the two differ only where nothing of the later part is left
    to meet: ours may then drop more, never less. Without embargo, so that the cut itself is in the part.
    """
    decided_N, resolved_N = times(windows)
    for fold in walk_forward(decided_N, resolved_N, policy(shares, folds=folds)):
        before_N = np.flatnonzero(decided_N < fold.validation_starts_at)
        between_N = np.flatnonzero(
            (decided_N >= fold.validation_starts_at) & (decided_N < fold.test_starts_at)
        )
        for ours, candidates, later in (
            (fold.train, before_N, between_N),
            (fold.validation, between_N, fold.test),
        ):
            theirs = purged(purgedcv, candidates, later, decided_N, resolved_N)
            if len(later):
                assert sorted(ours.tolist()) == sorted(theirs.tolist())
            else:
                assert set(ours.tolist()) <= set(theirs.tolist())
        # The training part keeps clear of the test part too, whatever lies between.
        np.testing.assert_array_equal(
            purged(purgedcv, fold.train, fold.test, decided_N, resolved_N), fold.train
        )


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_the_folds_are_those_of_an_independent_walk_forward(purgedcv, folds):
    """Its expanding window has no validation part: our training and validation together, before the purge."""
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(folds)
    decided_N = np.arange(400) * HOUR
    resolved_N = decided_N + rng.integers(1, 30, 400) * HOUR
    splitter = purgedcv.WalkForwardSplit(
        n_splits=folds,
        test_size=40,
        prediction_times=stamps(pandas, decided_N),
        evaluation_times=stamps(pandas, resolved_N),
        purge_horizon=pandas.Timedelta(0),
    )
    ours = walk_forward(
        decided_N, resolved_N, SplitPolicy(train_share=0.65, validation_share=0.25, embargo_h=0, folds=folds)
    )

    for fold, (train, test) in zip(ours, splitter.split(decided_N[:, None]), strict=True):
        np.testing.assert_array_equal(fold.test, test)
        in_our_train_N = train[decided_N[train] < fold.validation_starts_at]
        known_N = resolved_N[in_our_train_N] <= fold.validation_starts_at
        np.testing.assert_array_equal(fold.train, in_our_train_N[known_N])
        np.testing.assert_array_equal(fold.validation, train[decided_N[train] >= fold.validation_starts_at])


def purged(purgedcv, train, test, decided_N, resolved_N):
    pandas = pytest.importorskip("pandas")
    if not len(train) or not len(test):
        return train
    return purgedcv.purge(train, test, stamps(pandas, decided_N), stamps(pandas, resolved_N))


def stamps(pandas, micros_N):
    return pandas.Series(pandas.to_datetime(micros_N, unit="us"))
