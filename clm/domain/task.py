"""What asks for a cycle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A request for a retrain, from a stream, the schedule or a person, already validated."""

    model: str
    reason: str
    requested_by: str
    source: str
    """`redis:<stream>`, `schedule`, `cli`."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Fields we know and fields we do not, as text; never a path, never a command."""

    @property
    def dedupe_key(self) -> str:
        """Open tasks with the same key are one task."""
        return self.model

    @property
    def by_a_person(self) -> bool:
        """Whether somebody asked for it by hand: then it is done, whatever is known already."""
        return self.source == "cli" or self.source.endswith("manual.retrain_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where a trigger came from on the bus: the inbox's primary key."""

    stream: str
    entry_id: str
    payload_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A row of the queue."""

    task_id: int
    trigger: Trigger
    attempts: int
    created_at: datetime
