"""What a decision depends on, and whether it was made on the same inputs before."""

import hashlib

import orjson

from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef
from clm.gates.decision import DecisionKind
from clm.ports import Journal, RunRow
from clm.steps.results import Data, Repetition
from clm.steps.world import Cycle

_RUNS_LOOKED_AT = 100
"""Runs in which the last decision is searched; after as many skipped runs a cycle trains again."""


def look_back(cycle: Cycle, data: Data) -> Repetition:
    """Return the champion, the hash of all inputs, and the run that decided on the same ones."""
    world, task = cycle.world, cycle.request.task
    champion = world.promoter.champion()
    basis = basis_of(world.code_version, data.dataset, cycle.policies, champion)
    is_automatic = task is not None and not task.trigger.by_a_person
    return Repetition(
        champion=champion, basis=basis, earlier=decided_on(basis, world.journal) if is_automatic else None
    )


def basis_of(code_version: str, dataset: Dataset, policies: object, champion: ChampionRef | None) -> str:
    """Return a hash of all inputs of the decision; the policies include the random seed."""
    inputs = {
        "code": code_version,
        "data": dataset.fingerprint,
        "policies": policies,
        "champion": champion.sha256 if champion else None,
    }
    return hashlib.sha256(orjson.dumps(inputs, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()


def decided_on(basis: str, journal: Journal) -> RunRow | None:
    """Return the last run that decided, if its basis was the same and it did not promote.

    A promotion is never final: the switch may have been postponed or rolled back.
    """
    for run in journal.recent_runs(_RUNS_LOOKED_AT):
        if "basis" in run.notes and run.decision not in (None, DecisionKind.SKIPPED):
            final = DecisionKind(run.decision) in (DecisionKind.KEEP, DecisionKind.REJECT)
            return run if final and run.notes["basis"] == basis else None
    return None
