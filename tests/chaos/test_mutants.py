"""The suite notices mistakes that are made on purpose."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.figures import SUMMARIES, Summary
from tests.chaos.mutants import MUTANTS, Mutant, killed_by


@pytest.fixture(scope="module")
def noticed() -> Iterator[list[bool]]:
    """Collect for each mutant whether a test failed, for the summary."""
    results: list[bool] = []
    began = time.monotonic()
    yield results
    seconds, missed = time.monotonic() - began, results.count(False)
    SUMMARIES.append(Summary(title="mutants", seconds=seconds, points=len(results), violations=missed))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant: Mutant, noticed: list[bool]) -> None:
    """A test that does not notice a mistake does not test for it."""
    failed = killed_by(mutant)
    noticed.append(failed is not None)
    assert failed, f"no test of {', '.join(mutant.tests)} failed"
