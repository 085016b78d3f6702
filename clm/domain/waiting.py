"""Why a model that passed the gates is not promoted yet."""

from dataclasses import dataclass
from enum import StrEnum


class WaitsFor(StrEnum):
    """What a model waits for."""

    PERSON = "person"
    """`clm promote VERSION`."""
    THAW = "thaw"
    """The end of the freeze; the daemon then promotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a model waits for, and the champion it was judged against."""

    waits_for: WaitsFor
    champion_path: str | None
    """None if it was judged without a champion."""
    champion_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingModel:
    """A waiting model, as recorded by its run."""

    version: str
    run_id: str
    reason: str
    waiting: Waiting
