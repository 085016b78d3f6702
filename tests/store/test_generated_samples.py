"""Whatever lies in a store, each row is used or counted, and the fast way reads what the careful one does."""

import random
from collections import Counter

import pytest

from tests.store.generated import (
    assert_read_like_the_reference,
    feature_text,
    generated_rows,
    sound_row,
    table_of,
)

REQUESTS = ((), (), ("momentum", "rsi"), ("rsi", "none"), ("none",))


@pytest.mark.parametrize("seed", range(10))
def test_b2_b3_b4_b6_five_thousand_stores_are_read_like_the_reference(seed):
    """500 of them each: no exception escapes, counts add up, every value is the same to the last bit."""
    rng = random.Random(seed)
    rejected: Counter[str] = Counter()
    used = 0
    for _ in range(500):
        with table_of(generated_rows(rng)) as connection:
            table = assert_read_like_the_reference(connection, rng.choice(REQUESTS))
        rejected.update(table.rejected)
        used += len(table)
    assert used > 1000
    assert len(rejected) > 10  # the generator does make what it is for


@pytest.mark.parametrize("seed", range(10))
def test_b2_b3_b9_fifty_thousand_feature_texts_are_read_like_the_reference(seed):
    """5,000 of them each, alone and among sound ones: whatever strangers write."""
    rng = random.Random(1000 + seed)
    texts = 0
    while texts < 5000:
        spoilt_share = rng.choice((0.02, 1.0))
        rows = [sound_row(rng, number) for number in range(1, 251)]
        for row in rows:
            if rng.random() < spoilt_share:
                row["features"] = feature_text(rng)
                texts += 1
        with table_of(rows) as connection:
            assert_read_like_the_reference(connection, rng.choice(REQUESTS))
