"""Forty stores without signal, two hundred retrains each: in how many of them does anything ever get in?"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from tests.chaos.sweep import SUMMARIES
from tests.gates.null_history import ALL_GATES, BETTER_WINS, EACH_AT_95, RANKING, RULES, live

HISTORIES, RETRAINS = 40, 200


@pytest.mark.timeout(7200)
def test_of_two_hundred_retrains_on_noise_something_gets_in_in_at_most_1_of_20_histories() -> None:
    """In total, not each; the naive rule on the same histories promotes dozens in each of them."""
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(partial(live, retrains=RETRAINS), range(HISTORIES)))
    for rule in RULES:
        lives, total = sum(one[rule] > 0 for one in found), sum(one[rule] for one in found)
        SUMMARIES.append(f"null history, {rule}: {total} promotions in {lives} of {HISTORIES} histories")
    SUMMARIES.append(f"null history: {HISTORIES * RETRAINS} retrains, {time.monotonic() - began:.0f} s")
    for rule in (RANKING, ALL_GATES):
        assert sum(one[rule] > 0 for one in found) <= 0.05 * HISTORIES
    assert min(one[BETTER_WINS] for one in found) >= 12
    assert sum(one[EACH_AT_95] > 0 for one in found) > 0.5 * HISTORIES
