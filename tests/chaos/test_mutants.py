"""The suite notices mistakes that are made on purpose."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.figures import SUMMARIES, Summary
from tests.chaos.mutants import MUTANTS, Mutant, killed_by


@pytest.fixture(scope="module")
def killed() -> Iterator[list[str]]:
    """Collect the mutants that were noticed, for the summary."""
    names: list[str] = []
    began = time.monotonic()
    yield names
    seconds, missed = time.monotonic() - began, len(MUTANTS) - len(names)
    SUMMARIES.append(Summary(title="mutants", seconds=seconds, points=len(MUTANTS), violations=missed))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant: Mutant, killed: list[str]) -> None:
    """A test that does not notice a mistake does not test for it."""
    noticed = killed_by(mutant)
    assert noticed, f"no test of {', '.join(mutant.tests)} failed"
    killed.append(f"{mutant.name}: {noticed}")
