"""Forty stores without signal, two hundred retrains each: in how many of them does anything ever get in?"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from tests.chaos.figures import SUMMARIES, Summary
from tests.gates.null_history import ALL_GATES, BETTER_WINS, EACH_AT_95, RANKING, RULES, live

HISTORIES, RETRAINS = 40, 200


@pytest.mark.timeout(7200)
def test_of_two_hundred_retrains_on_noise_something_gets_in_in_at_most_1_of_20_histories() -> None:
    """In total, not each; the naive rule on the same histories promotes dozens in each of them."""
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(partial(live, retrains=RETRAINS), range(HISTORIES)))
    seconds = time.monotonic() - began
    for rule in RULES:
        lives, total = sum(one[rule] > 0 for one in found), sum(one[rule] for one in found)
        detail = f"{total} promotions in {lives} of {HISTORIES} histories of {RETRAINS} retrains"
        SUMMARIES.append(Summary(title=f"null history, {rule}", seconds=seconds, detail=detail))
    for rule in (RANKING, ALL_GATES):
        assert sum(one[rule] > 0 for one in found) <= 0.05 * HISTORIES
    assert min(one[BETTER_WINS] for one in found) >= 12
    assert sum(one[EACH_AT_95] > 0 for one in found) > 0.5 * HISTORIES
