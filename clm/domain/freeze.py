"""Decide whether learning is frozen; a pure rule.

The trading system freezes learning with two Redis keys. A valid answer decides. Without one the last known
state decides: frozen stays frozen, and thawed becomes unknown. Unknown allows training but blocks automatic
promotion. If no Redis has ever replied, a missing answer blocks nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class FreezeState(StrEnum):
    """The known state of the freeze."""

    THAWED = "thawed"
    FROZEN = "frozen"
    """The keys freeze learning, or did so when they were last read."""
    UNKNOWN = "unknown"
    """There is no valid answer, and the last known state was not frozen."""
    UNHEARD = "unheard"
    """No Redis has ever replied since this state directory was created."""
    HALTED = "halted"
    """Learning is stopped by something other than the freeze keys: a pause or a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """The freeze, as read once."""

    state: FreezeState
    reason: str = ""
    """One sentence for people; empty if the system is thawed."""
    cause: str = ""
    """The part of the reason without times; it changes only when the state does."""
    is_current: bool = True
    """False if there was no valid answer, so the last known state counts."""

    @property
    def stops_because(self) -> str | None:
        """Return why training and promotion are blocked, or None if training may proceed."""
        return self.reason if self.state in {FreezeState.FROZEN, FreezeState.HALTED} else None

    @property
    def holds_promotion(self) -> bool:
        """Return whether automatic promotion is blocked."""
        return self.state not in {FreezeState.THAWED, FreezeState.UNHEARD}


THAWED = Freeze(state=FreezeState.THAWED)


def halted(reason: str | None) -> Freeze:
    """Return the freeze of a check other than the freeze keys; THAWED without a reason."""
    return Freeze(state=FreezeState.HALTED, reason=reason, cause=reason) if reason else THAWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one request to Redis."""

    server: str
    at: datetime
    frozen_because: str | None = None
    """Why the keys freeze learning, or None if they do not."""
    error: str | None = None
    """Why there is no valid answer, or None if there is one."""
    is_silent: bool = False
    """Whether nothing replied at all: no connection, or a time-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastKnown:
    """The last known state, kept across restarts."""

    server: str
    state: FreezeState
    """THAWED or FROZEN; UNKNOWN if a server replied but never gave a valid answer."""
    cause: str = ""
    seen_at: datetime | None = None
    """Time of the last valid answer."""
    failing_since: datetime | None = None
    """Time of the first request without a valid answer since then; None if the last one had an answer."""


def known_after(last: LastKnown | None, answer: Answer) -> LastKnown | None:
    """Return the state to keep after an answer; None while nothing has ever replied."""
    if answer.error is None:
        state = FreezeState.FROZEN if answer.frozen_because else FreezeState.THAWED
        return LastKnown(
            server=answer.server, state=state, cause=answer.frozen_because or "", seen_at=answer.at
        )
    if last is not None:
        return replace(last, failing_since=last.failing_since or answer.at)
    if answer.is_silent:
        return None
    return LastKnown(server=answer.server, state=FreezeState.UNKNOWN, failing_since=answer.at)


def freeze_of(known: LastKnown | None, answer: Answer) -> Freeze:
    """Return the freeze; `known` is the result of `known_after` for the same answer."""
    if answer.error is None:
        because = answer.frozen_because
        return Freeze(state=FreezeState.FROZEN, reason=because, cause=because) if because else THAWED
    if known is None:
        return Freeze(
            state=FreezeState.UNHEARD,
            reason=f"no Redis has ever answered on this state directory: {answer.error}",
            cause="no Redis has ever answered",
            is_current=False,
        )
    since = f"no valid answer since {_minute(known.failing_since or answer.at)}: {answer.error}"
    last = f"last seen {_minute(known.seen_at)}" if known.seen_at else "never read"
    if known.server not in {"", answer.server}:
        last += f" on {known.server}"
    if known.state is FreezeState.FROZEN:
        reason = f"{known.cause}, {last}; {since}"
        return Freeze(state=FreezeState.FROZEN, reason=reason, cause=known.cause, is_current=False)
    state = "thawed, " if known.state is FreezeState.THAWED else ""
    return Freeze(
        state=FreezeState.UNKNOWN,
        reason=f"the freeze keys cannot be read ({state}{last}); {since}",
        cause="the freeze keys cannot be read",
        is_current=False,
    )


def worst(*freezes: Freeze) -> Freeze:
    """Return the most restrictive freeze; the first of equals."""
    return min(freezes, key=lambda freeze: _SEVERITY.index(freeze.state))


_SEVERITY = (
    FreezeState.HALTED,
    FreezeState.FROZEN,
    FreezeState.UNKNOWN,
    FreezeState.UNHEARD,
    FreezeState.THAWED,
)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
