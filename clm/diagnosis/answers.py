"""What a probe answers, and what all answers amount to."""

import math
from dataclasses import dataclass
from enum import StrEnum


class ProbeVerdict(StrEnum):
    """FOUND, CLEAR, or UNKNOWN: it was not measured, and the message says why."""

    FOUND = "FOUND"
    CLEAR = "CLEAR"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """One question asked of a rejected run, with its measurement."""

    name: str
    verdict: ProbeVerdict
    statistic: float | None
    threshold: float | None
    message: str
    next_step: str = ""
    """Empty where nothing was found."""
    cost_s: float = 0.0
    """What the measurement took; answers that share one share its cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every answer, those that found something first; the first one names the cause."""

    answers: tuple[ProbeAnswer, ...]
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[ProbeAnswer, ...]:
        """Return what was found, a cause before what it brings about."""
        return tuple(answer for answer in self.answers if answer.verdict is ProbeVerdict.FOUND)

    @property
    def cause(self) -> ProbeAnswer | None:
        """Return the first finding, None where nothing was found."""
        return next(iter(self.findings), None)


def judged(
    name: str,
    *,
    guilty: bool,
    statistic: float,
    threshold: float,
    message: str,
    next_step: str,
    cost_s: float = 0.0,
) -> ProbeAnswer:
    """Return FOUND or CLEAR; a statistic that is no number is neither."""
    if math.isnan(statistic):
        return unknown(name, f"no figure: {message}", cost_s=cost_s)
    return ProbeAnswer(
        name=name,
        verdict=ProbeVerdict.FOUND if guilty else ProbeVerdict.CLEAR,
        statistic=statistic,
        threshold=threshold,
        message=message,
        next_step=next_step if guilty else "",
        cost_s=cost_s,
    )


def unknown(name: str, because: str, *, cost_s: float = 0.0) -> ProbeAnswer:
    """Return that it is not known, and why."""
    return ProbeAnswer(
        name=name,
        verdict=ProbeVerdict.UNKNOWN,
        statistic=None,
        threshold=None,
        message=because,
        cost_s=cost_s,
    )
