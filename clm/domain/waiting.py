"""Why a model that passed is not promoted yet."""

from dataclasses import dataclass
from enum import StrEnum


class WaitsFor(StrEnum):
    """What a model that passed waits for."""

    PERSON = "person"
    """`clm promote VERSION`."""
    THAW = "thaw"
    """Redis saying that the system is thawed; the daemon then promotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a model waits for, and the champion it was judged against."""

    waits_for: WaitsFor
    champion_path: str | None
    """None where it was judged against no champion."""
    champion_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingModel:
    """A model that waits, as its run recorded it."""

    version: str
    run_id: str
    reason: str
    waiting: Waiting
