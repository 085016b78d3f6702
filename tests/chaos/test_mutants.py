"""The suite is held against mistakes that were made on purpose."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.mutants import MUTANTS, Mutant, killed_by
from tests.chaos.sweep import SUMMARIES


@pytest.fixture(scope="module")
def killed() -> Iterator[list[str]]:
    """Collect the mutants that were noticed, for the line at the end."""
    names: list[str] = []
    began = time.monotonic()
    yield names
    SUMMARIES.append(f"mutants: {len(MUTANTS)}, {len(names)} killed, {time.monotonic() - began:.0f} s")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant: Mutant, killed: list[str]) -> None:
    """A test that passes over a mistake is not a test of it."""
    noticed = killed_by(mutant)
    assert noticed, f"no test of {', '.join(mutant.tests)} failed"
    killed.append(f"{mutant.name}: {noticed}")
