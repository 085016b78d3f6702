"""docs/reference/faults.md names every fault of the store and of its rows, and only tests that are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reference/faults.md").read_text()
FOUND = re.findall(r"^\| ([A-Z]\d+) \|.*\| (.*) \|$", PAGE, flags=re.MULTILINE)
ROWS = dict(FOUND)
COMPLETE = [*(f"A{n}" for n in range(1, 17)), *(f"B{n}" for n in range(1, 15))]
"""Sections in which every fault has a test."""


def test_every_fault_has_one_row_and_those_of_the_store_are_complete():
    """A fault that is not listed is never tested."""
    assert len(FOUND) == len(ROWS)
    assert [fault for fault in ROWS if fault[0] in "AB"] == COMPLETE


@pytest.mark.parametrize("fault", ROWS)
def test_the_tests_that_a_row_names_carry_its_id(fault):
    """A table that lies is worse than none."""
    files = re.findall(r"`([a-z_/]+\.py)`", ROWS[fault])
    assert files or (fault not in COMPLETE and ROWS[fault]), "a test, or why there is none"
    for file in files:
        assert re.search(rf"def test_(?:[a-z]\d+_)*{fault.lower()}_", (TESTS / file).read_text()), file
