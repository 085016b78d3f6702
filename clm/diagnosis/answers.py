"""The answer of a probe, and the diagnosis from all answers."""

import math
from dataclasses import dataclass
from enum import StrEnum


class ProbeVerdict(StrEnum):
    """FOUND, CLEAR, or UNKNOWN if it was not measured; the message then says why."""

    FOUND = "FOUND"
    CLEAR = "CLEAR"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """The result of one probe on a rejected run, with its measurement."""

    name: str
    verdict: ProbeVerdict
    statistic: float | None
    threshold: float | None
    message: str
    next_step: str = ""
    """Empty if nothing was found."""
    cost_s: float = 0.0
    """Seconds of the measurement; answers from one measurement report the same cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All answers, findings first; the first finding names the cause."""

    answers: tuple[ProbeAnswer, ...]
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[ProbeAnswer, ...]:
        """Return the findings, each cause before its consequences."""
        return tuple(answer for answer in self.answers if answer.verdict is ProbeVerdict.FOUND)

    @property
    def cause(self) -> ProbeAnswer | None:
        """Return the first finding, or None if nothing was found."""
        return next(iter(self.findings), None)


def judged(
    name: str,
    *,
    is_found: bool,
    statistic: float,
    threshold: float,
    message: str,
    next_step: str,
    cost_s: float = 0.0,
) -> ProbeAnswer:
    """Return FOUND or CLEAR; UNKNOWN if the statistic is NaN."""
    if math.isnan(statistic):
        return unknown(name, f"no figure: {message}", cost_s=cost_s)
    return ProbeAnswer(
        name=name,
        verdict=ProbeVerdict.FOUND if is_found else ProbeVerdict.CLEAR,
        statistic=statistic,
        threshold=threshold,
        message=message,
        next_step=next_step if is_found else "",
        cost_s=cost_s,
    )


def unknown(name: str, because: str, *, cost_s: float = 0.0) -> ProbeAnswer:
    """Return UNKNOWN with the reason."""
    return ProbeAnswer(
        name=name,
        verdict=ProbeVerdict.UNKNOWN,
        statistic=None,
        threshold=None,
        message=because,
        cost_s=cost_s,
    )
