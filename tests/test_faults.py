"""docs/faults.md names every fault of the store and of its rows, and only tests that are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "faults.md").read_text()
ROWS = dict(re.findall(r"^\| ([A-Z]\d+) \|.*\| (.*) \|$", PAGE, flags=re.MULTILINE))
IDS = [*(f"A{n}" for n in range(1, 17)), *(f"B{n}" for n in range(1, 15))]


def test_every_fault_of_the_store_has_a_row():
    """A fault that is not listed is a fault that nobody looks for."""
    assert list(ROWS) == IDS


@pytest.mark.parametrize("fault", IDS)
def test_the_tests_that_a_row_names_carry_its_id(fault):
    """A table that lies is worse than none."""
    files = re.findall(r"`([a-z_/]+\.py)`", ROWS[fault])
    assert files
    for file in files:
        assert re.search(rf"def test_(?:[a-z]\d+_)*{fault.lower()}_", (TESTS / file).read_text()), file
