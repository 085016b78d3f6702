"""How soon the next cycle may begin."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from clm.daemon.pacing import not_before
from tests.builders import NOW

minutes = st.integers(-3000, 3000)


def at(*ago: float) -> list:
    return [NOW - timedelta(minutes=one) for one in ago]


def asked(started: list, *, interrupted: list = (), max_a_day: int = 24):
    return not_before(started, NOW, interrupted=interrupted, min_interval_min=15, max_a_day=max_a_day)


def test_c18_a_cycle_begins_a_quarter_of_an_hour_after_the_last_one():
    """From start to start: a long training has done its waiting."""
    assert asked([]) is None
    assert asked(at(15)) is None
    assert asked(at(14, 200)) == NOW + timedelta(minutes=1)


def test_c18_a_day_has_so_many_cycles():
    """Until the oldest of them is a day ago."""
    assert asked(at(60, 1439), max_a_day=2) == NOW + timedelta(minutes=1)
    assert asked(at(60, 1441), max_a_day=2) is None


def test_e11_a_run_that_was_interrupted_is_taken_up_again_at_once():
    """The operator restarted the service; but one that dies of each training does so only so often a day."""
    assert asked(at(1), interrupted=at(1)) is None
    assert asked(at(1, 14), interrupted=at(1)) == NOW + timedelta(minutes=1)
    assert asked(at(1, 60), interrupted=at(1, 60), max_a_day=2) == NOW + timedelta(hours=23)


def test_k1_a_run_from_the_future_holds_nobody_up():
    """The clock was put back; ten years of waiting would be the other reading."""
    assert asked(at(-5_000_000)) is None
    assert asked(at(-5_000_000, 1)) == NOW + timedelta(minutes=14)


@given(st.lists(minutes, max_size=30), st.integers(1, 24))
def test_c18_whatever_ran_when_the_wait_is_at_most_a_day_and_ends(ago: list[int], max_a_day: int):
    """A bound that could hold for ever would be a deadlock."""
    latest = sorted(at(*ago), reverse=True)[:max_a_day]
    wait = asked(latest, max_a_day=max_a_day)
    assert wait is None or NOW < wait <= NOW + timedelta(days=1)
