"""Repeated retraining on a store without skill promotes nothing; `make chaos` runs 40 times as long."""

from collections import Counter

from tests.gates.null_history import ALL_GATES, BETTER_WINS, EACH_AT_95, RANKING, live


def test_repeated_retraining_on_noise_promotes_nothing() -> None:
    """Noise is promoted if the better model wins, or if every attempt is judged like the first."""
    promoted: Counter[str] = Counter()
    for seed in range(2, 7):
        promoted += live(seed, 25)
    assert promoted[ALL_GATES] == promoted[RANKING] == 0
    assert promoted[BETTER_WINS] >= 24
    assert promoted[EACH_AT_95] >= 3
