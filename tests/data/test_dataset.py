"""The data set and its fingerprint."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.data.dataset import build_dataset
from clm.data.windows import gather
from tests.data.rows import CUTOFF, data_policy, dataset_of, parsed, raw_row, simulated_rows, text

ROWS = simulated_rows(n_samples=600)
PLAIN = dataset_of(ROWS)


def changed(number, **changes):
    return [{**row, **(changes if index == number else {})} for index, row in enumerate(ROWS)]


def by_time():
    return sorted(range(len(ROWS)), key=lambda index: ROWS[index]["timestamp"])


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_same_rows_in_another_order_give_the_same_fingerprint(rng: random.Random):
    """A dump and restore changes the physical order, not the data."""
    rows = list(ROWS)
    rng.shuffle(rows)
    again = dataset_of(rows)

    assert again.fingerprint == PLAIN.fingerprint
    np.testing.assert_array_equal(again.table.sample_id_R, PLAIN.table.sample_id_R)


def test_the_order_of_keys_and_the_form_of_features_do_not_show_in_the_fingerprint():
    """The same numbers under the same names are the same data."""
    names = json.loads(ROWS[0]["feature_names"])
    rows = []
    for index, row in enumerate(ROWS):
        pairs = list(zip(names, json.loads(row["features"]), strict=True))
        random.Random(index).shuffle(pairs)
        rows.append({**row, "features": json.dumps(dict(pairs))})

    assert dataset_of(rows).fingerprint == PLAIN.fingerprint


def test_what_training_sees_shows_in_the_fingerprint():
    """Two runs with one fingerprint must have been given the same data."""
    seen = by_time()[300]
    other_class = "LOSS" if ROWS[seen]["target_class"] == "WIN" else "WIN"
    nudged = [value * (1 + 1e-15) + 1e-300 for value in json.loads(ROWS[seen]["features"])]
    fingerprints = {
        "plain": PLAIN.fingerprint,
        "a label": dataset_of(changed(seen, target_class=other_class)).fingerprint,
        "a bit of a feature": dataset_of(changed(seen, features=json.dumps(nudged))).fingerprint,
        "a row less": dataset_of([row for index, row in enumerate(ROWS) if index != seen]).fingerprint,
        "context": dataset_of(ROWS, context_length=17).fingerprint,
        "target": dataset_of(ROWS, target="direction").fingerprint,
        "a feature less": dataset_of(ROWS, features=("rsi", "macd")).fingerprint,
        "a name": dataset_of(
            [{**row, "feature_names": row["feature_names"].replace("rsi", "rsi_14")} for row in ROWS]
        ).fingerprint,
        "their order": dataset_of(ROWS, features=("macd", "rsi")).fingerprint,
    }

    assert len(set(fingerprints.values())) == len(fingerprints), fingerprints


def test_b11_a_row_that_no_window_holds_does_not_show_in_the_fingerprint():
    """A trade opened a minute ago is no new data: nothing would be learnt that was not before."""
    newest = {
        **ROWS[by_time()[-1]],
        "id": 99_999,
        "timestamp": text(CUTOFF),
        "outcome_known": 0,
        "exit_time": None,
    }
    stranger = {**newest, "id": 99_998, "symbol": "AAAUSDT"}

    assert dataset_of([*ROWS, newest, stranger]).fingerprint == PLAIN.fingerprint


def test_windows_are_ordered_by_decision_and_end_at_it():
    """Evaluation walks the rows in time."""
    table = PLAIN.table
    decided_N = table.decided_at_R[PLAIN.row_N]
    x_NLC = gather(table.features_RC, PLAIN.row_N, PLAIN.context_length)

    assert (np.diff(decided_N) >= 0).all()
    assert x_NLC.shape == (len(PLAIN.row_N), PLAIN.context_length, 8)
    np.testing.assert_array_equal(x_NLC[:, -1], table.features_RC[PLAIN.row_N])


def test_b13_the_newest_training_decision_is_older_than_the_oldest_test_decision():
    """Whatever the order of rows in the store."""
    decided_N = PLAIN.table.decided_at_R[PLAIN.row_N]

    assert decided_N[PLAIN.split.train].max() < decided_N[PLAIN.split.validation].min()
    assert decided_N[PLAIN.split.validation].max() < decided_N[PLAIN.split.test].min()


def test_every_known_outcome_is_a_window_or_counted():
    """Nothing falls under the table."""
    for target in ("win", "direction"):
        dataset = dataset_of(ROWS, target=target)
        known = int(dataset.table.labelled_R.sum())
        assert len(dataset.row_N) + sum(dataset.dropped.values()) == known
        assert dataset.dropped["history_too_short"] > 0


@pytest.mark.parametrize(
    "rows",
    [[], [raw_row(1)], [raw_row(1, features="x")], [raw_row(n, outcome_known=0) for n in range(1, 40)]],
)
def test_b1_hardly_any_content_gives_hardly_any_windows(rows):
    """Building never raises on content; the audits say what is wrong."""
    dataset = build_dataset(parsed(rows), data_policy())

    assert len(dataset.row_N) == 0
    assert np.isnan(dataset.base_rate)
    assert len(dataset.fingerprint) == 64


def test_the_base_rate_is_that_of_the_training_part():
    """A baseline that knew the test part's rate would be too good."""
    assert PLAIN.base_rate == PLAIN.label_N[PLAIN.split.train].mean()
    assert PLAIN.base_rate != PLAIN.label_N.mean()
