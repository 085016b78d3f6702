"""Triggers and tasks: requests for a cycle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A validated request to retrain, from a stream, the schedule or a person."""

    model: str
    reason: str
    requested_by: str
    source: str
    """`redis:<stream>`, `schedule`, `cli`."""
    details: Mapping[str, str] = field(default_factory=dict)
    """All fields, known and unknown, as text; never a path, never a command."""

    @property
    def dedupe_key(self) -> str:
        """Return the key; open tasks with the same key are merged into one."""
        return self.model

    @property
    def by_a_person(self) -> bool:
        """Return whether a person requested it; such a cycle runs even if no input has changed."""
        return self.source == "cli" or self.source.endswith("manual.retrain_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where a trigger came from on the bus; the primary key of the inbox."""

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
