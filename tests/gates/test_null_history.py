"""Retraining for ever on a store without signal promotes nothing; `make chaos` lives forty times as long."""

from collections import Counter

from tests.gates.null_history import ALL_GATES, BETTER_WINS, EACH_AT_95, RANKING, live


def test_a_store_without_signal_promotes_nothing_however_often_it_is_retrained_on() -> None:
    """Where the better of two wins, or each attempt is judged as if it were the first, noise gets in."""
    promoted: Counter[str] = Counter()
    for seed in range(2, 7):
        promoted += live(seed, 25)
    assert promoted[ALL_GATES] == promoted[RANKING] == 0
    assert promoted[BETTER_WINS] >= 24
    assert promoted[EACH_AT_95] >= 3
