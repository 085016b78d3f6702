"""Whether the trading system has frozen learning: the rule, on values alone.

The trading system freezes learning with two Redis keys. An answer decides. Without a valid answer the
last known state decides: frozen stays frozen, thawed becomes unknown. Unknown allows training and holds
back automatic promotion. Only where nothing ever replied does a missing answer hold nothing back.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class FreezeState(StrEnum):
    """What is known about the freeze now."""

    THAWED = "thawed"
    FROZEN = "frozen"
    """The keys say so, or said so when they were last read."""
    UNKNOWN = "unknown"
    """There is no valid answer, and the last one did not say frozen."""
    UNHEARD = "unheard"
    """No Redis has ever replied on this state directory."""
    HALTED = "halted"
    """Something other than the freeze keys stops learning: a pause or a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """The freeze as of one question."""

    state: FreezeState
    reason: str = ""
    """One sentence for people; empty where the system is thawed."""
    cause: str = ""
    """The part of the reason that stays the same while nothing changes."""
    is_current: bool = True
    """False where there was no valid answer and the last known state counts."""

    @property
    def stops_because(self) -> str | None:
        """Return why nothing may be trained or promoted, None where training may go on."""
        return self.reason if self.state in {FreezeState.FROZEN, FreezeState.HALTED} else None

    @property
    def holds_promotion(self) -> bool:
        """Return whether no model may be promoted automatically."""
        return self.state not in {FreezeState.THAWED, FreezeState.UNHEARD}


THAWED = Freeze(state=FreezeState.THAWED)


def halted(reason: str | None) -> Freeze:
    """Return the freeze of a check that has nothing to do with the freeze keys."""
    return Freeze(state=FreezeState.HALTED, reason=reason, cause=reason) if reason else THAWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one question to Redis returned."""

    server: str
    at: datetime
    frozen_because: str | None = None
    """Why the keys freeze learning, None where they do not."""
    error: str | None = None
    """Why there is no valid answer, None where there is one."""
    is_silent: bool = False
    """There is no valid answer because nothing replied: no connection, or a time-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastKnown:
    """What is remembered across restarts."""

    server: str
    state: FreezeState
    """THAWED or FROZEN; UNKNOWN where a server replied and never gave a valid answer."""
    cause: str = ""
    seen_at: datetime | None = None
    """Time of the last valid answer."""
    failing_since: datetime | None = None
    """Time of the first question without a valid answer since then; None where the last one was answered."""


def known_after(last: LastKnown | None, answer: Answer) -> LastKnown | None:
    """Return what to remember after an answer; None while nothing has ever replied."""
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
    """Return the freeze; `known` is what `known_after` returned for the same answer."""
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
    """Return the freeze that allows least; the first of equals."""
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
