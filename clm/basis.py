"""What a decision depends on, and whether it was taken on just that before."""

import hashlib
from collections.abc import Sequence

import orjson

from clm.data.dataset import Dataset
from clm.decision import DecisionKind
from clm.domain.job import ChampionRef
from clm.gates.verdict import GateStatus, GateVerdict
from clm.ports import Journal, RunRecord

_RUNS_LOOKED_AT = 100
"""Runs among which the last one that decided is looked for; after so many skipped ones one trains again."""


def basis_of(code_version: str, dataset: Dataset, policies: object, champion: ChampionRef | None) -> str:
    """Return a hash of all that the decision depends on; what is random has its seed among the policies."""
    told = {
        "code": code_version,
        "data": dataset.fingerprint,
        "policies": policies,
        "champion": champion.sha256 if champion else None,
    }
    return hashlib.sha256(orjson.dumps(told, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()


def fails_by_a_measurement(verdicts: Sequence[GateVerdict]) -> bool:
    """Whether the same basis may be judged otherwise another time: speed depends on the machine as well."""
    return any(verdict.name == "budget" and verdict.status is GateStatus.FAIL for verdict in verdicts)


def decided_on(basis: str, journal: Journal) -> RunRecord | None:
    """Return the last run that decided, where it did so on this basis and left the engine alone.

    One that promoted is never taken for final: the switch may have been put off or rolled back.
    """
    for run in journal.recent_runs(_RUNS_LOOKED_AT):
        if "basis" in run.notes and run.decision not in (None, DecisionKind.SKIPPED):
            final = run.decision in (DecisionKind.HOLD, DecisionKind.REJECT)
            return run if final and run.notes["basis"] == basis else None
    return None
