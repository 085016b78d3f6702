"""Verification distinguishes a crash loop from an operator's restart, and slowness from failure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from clm.domain.load_check import GoldenRows
from clm.engine.golden_answers import ProbeReading
from clm.engine.health import Grade, HealthReading
from clm.errors import PromotionError
from clm.ports import EngineObservation, EngineStatus
from clm.promotion.policy import PromotionPolicy, Workplace
from clm.promotion.verification import Effect, Verification, verify
from tests.fakes import FakeClock

MODEL = Path("/m/new.pth")
GOLDEN = GoldenRows(window_GLC=np.zeros((2, 1, 1), dtype=np.float32), p_G=np.array([0.2, 0.8]))
GOOD = EngineObservation(
    status=EngineStatus.ACTIVE,
    main_pid=7,
    invocation_id="a",
    restarts=0,
    model_path=str(MODEL),
    detail="as configured",
)
STARTING = replace(GOOD, status=EngineStatus.ACTIVATING)
STOPPED = replace(GOOD, status=EngineStatus.INACTIVE)


class Timeline:
    """An engine whose state is a function of the seconds since its restart."""

    def __init__(self, clock: FakeClock, at: Callable[[float], EngineObservation]) -> None:
        self._clock, self._at = clock, at

    def observe(self) -> EngineObservation:
        return self._at(self._clock.monotonic())

    def restart(self) -> None: ...


class Asked:
    """Results of the verification checks as functions of time; None for a disabled check."""

    def __init__(
        self,
        health: Callable[[float], Grade] | None = None,
        journal: Callable[[float], str] | None = None,
        probe: Callable[[float], ProbeReading] | None = None,
    ) -> None:
        self.health, self.journal, self.probe = health, journal, probe
        self.probed: list[float] = []


def verified(
    at: Callable[[float], EngineObservation],
    asked: Asked | None = None,
    worst: Grade = Grade.HEALTHY,
    **policy: float,
) -> tuple[Verification, float]:
    """Verify an engine that behaves so, with the default waits; return the answer and the seconds it took."""
    clock, asked = FakeClock(), asked or Asked()
    parts: dict[str, object] = dict.fromkeys(Workplace.__slots__)
    values = {**parts, "engine": Timeline(clock, at), "clock": clock, "policy": PromotionPolicy(**policy)}  # type: ignore[arg-type]
    if (health := asked.health) is not None:
        values["health"] = lambda: HealthReading(grade=health(clock.monotonic()), detail="as configured")
    if (journal := asked.journal) is not None:
        missing = lambda _invocation, name: journal(clock.monotonic()).replace("FILE", name)  # noqa: E731
        values["journal"] = SimpleNamespace(missing=missing)
    if (probe := asked.probe) is not None:

        def answer(_golden: GoldenRows) -> ProbeReading:
            asked.probed.append(clock.monotonic())
            return probe(clock.monotonic())

        values["probe"] = answer
    seen = verify(Workplace(**cast(dict, values)), MODEL, health=worst, golden=GOLDEN)
    return seen, clock.waited_s


def test_a_stable_engine_is_confirmed_after_the_stability_window() -> None:
    """Not before: healthy for 20 seconds is no proof."""
    seen, seconds = verified(lambda _t: GOOD)
    assert (seen.effect, seen.pid) == (Effect.CONFIRMED, 7)
    assert seconds == pytest.approx(60, abs=1)


def test_h3_an_engine_that_starts_slowly_gets_its_time() -> None:
    """Loading takes a minute on a busy machine; the window of stability begins when it is up."""
    seen, seconds = verified(lambda t: GOOD if t > 100 else STARTING)
    assert seen.effect is Effect.CONFIRMED
    assert seconds == pytest.approx(160, abs=2)


def test_h3_an_engine_that_never_becomes_active_is_not_waited_for_without_end() -> None:
    """150 seconds, then the old model."""
    seen, seconds = verified(lambda _t: STARTING)
    assert seen.effect is Effect.NOT_TAKEN
    assert seconds == pytest.approx(150, abs=1)


def test_h4_an_engine_that_dies_within_the_window_is_not_taken() -> None:
    """A model may load and fail on its first real input."""
    seen, seconds = verified(lambda t: GOOD if t < 20 else replace(GOOD, status=EngineStatus.FAILED))
    assert seen.effect is Effect.NOT_TAKEN
    assert seconds == pytest.approx(20, abs=1)


@pytest.mark.parametrize("state", [GOOD, STARTING])
def test_h1_a_crash_loop_is_seen_although_it_is_active_whenever_one_looks(state: EngineObservation) -> None:
    """systemd restarts it faster than the polling; the restart counter reveals it."""
    seen, seconds = verified(lambda t: replace(state, restarts=int(t / 3), invocation_id=str(int(t / 3))))
    assert seen.effect is Effect.NOT_TAKEN
    assert "was restarted" in seen.reason
    assert seconds < 5


def test_h9_one_restart_by_a_person_begins_the_window_anew() -> None:
    """Another invocation, no crash counted: somebody restarted it, and it came up on our model."""
    seen, seconds = verified(lambda t: replace(GOOD, invocation_id="a" if t < 30 else "b"))
    assert seen.effect is Effect.CONFIRMED
    assert seconds == pytest.approx(90, abs=1)


def test_h9_restarts_without_end_are_no_stability() -> None:
    """An operator who does that does not want it verified."""
    seen, _ = verified(lambda t: replace(GOOD, invocation_id=str(int(t / 30))))
    assert seen.effect is Effect.NOT_TAKEN


def test_h9_an_engine_stopped_for_a_while_is_waited_for() -> None:
    """Five minutes of maintenance are no failure of the model."""
    seen, _ = verified(lambda t: STOPPED if 10 < t < 310 else GOOD)
    assert seen.effect is Effect.CONFIRMED


def test_h9_an_engine_that_stays_stopped_is_left_to_whoever_stopped_it() -> None:
    """Ten minutes, then hands off."""
    seen, seconds = verified(lambda t: GOOD if t < 10 else STOPPED)
    assert seen.effect is Effect.STOPPED
    assert seconds == pytest.approx(610, abs=2)


def test_h5_another_model_is_not_taken_after_the_grace_between_fork_and_exec() -> None:
    """For an instant a starting process has the environment of its parent."""
    elsewhere = replace(GOOD, model_path="/m/old.pth")
    assert verified(lambda t: elsewhere if t < 1 else GOOD)[0].effect is Effect.CONFIRMED
    seen, seconds = verified(lambda _t: elsewhere)
    assert seen.effect is Effect.NOT_TAKEN
    assert seconds == pytest.approx(5, abs=1)


def test_a_service_manager_that_is_away_for_a_moment_is_asked_again() -> None:
    """dbus restarts too."""

    def at(t: float) -> EngineObservation:
        if 5 < t < 20:
            raise PromotionError("ENGINE_UNREACHABLE", "the bus is away")
        return GOOD

    seen, seconds = verified(at)
    assert seen.effect is Effect.CONFIRMED
    assert seconds == pytest.approx(80, abs=1)


def test_h6_trouble_that_was_there_before_is_not_held_against_the_model() -> None:
    """Health must not be worse than the baseline; the result reports the problem."""
    troubled = Asked(health=lambda _t: Grade.TROUBLED)
    seen, _ = verified(lambda _t: GOOD, troubled, Grade.TROUBLED)
    assert (seen.effect, seen.troubled) == (Effect.CONFIRMED, "as configured")


def test_h6_a_dependency_that_comes_back_in_time_does_no_harm() -> None:
    """The window of stability begins when it is up again."""
    seen, seconds = verified(
        lambda _t: GOOD, Asked(health=lambda t: Grade.HEALTHY if t > 100 else Grade.TROUBLED)
    )
    assert (seen.effect, seen.troubled) == (Effect.CONFIRMED, "")
    assert seconds == pytest.approx(160, abs=2)


@pytest.mark.parametrize(
    ("worst", "grade"),
    [(Grade.HEALTHY, Grade.TROUBLED), (Grade.HEALTHY, Grade.SILENT), (Grade.TROUBLED, Grade.SILENT)],
)
def test_h6_health_that_stays_worse_than_before_is_not_taken(worst: Grade, grade: Grade) -> None:
    """150 seconds, for dependencies that come back."""
    seen, seconds = verified(lambda _t: GOOD, Asked(health=lambda _t: grade), worst)
    assert seen.effect is Effect.NOT_TAKEN
    assert "health endpoint reports: as configured" in seen.reason
    assert seconds == pytest.approx(150, abs=1)


def test_h5_a_journal_without_the_files_name_is_not_taken() -> None:
    """One generation of the engine ignores the variable and says so only there; the line may come late."""
    late = Asked(journal=lambda t: "" if t > 20 else "no line with FILE")
    seen, seconds = verified(lambda _t: GOOD, late)
    assert seen.effect is Effect.CONFIRMED
    assert seconds == pytest.approx(80, abs=2)
    seen, _ = verified(lambda _t: GOOD, Asked(journal=lambda _t: "no line with FILE"))
    assert seen.effect is Effect.NOT_TAKEN
    assert seen.reason.startswith("no line with new.pth")


def test_the_golden_rows_are_asked_for_once_a_start() -> None:
    """Sixty-four predictions are no heartbeat; but another start is another proof."""
    asked = Asked(probe=lambda _t: ProbeReading(proven=True, final=True))
    assert verified(lambda _t: GOOD, asked)[0].effect is Effect.CONFIRMED
    assert len(asked.probed) == 1
    asked = Asked(probe=lambda _t: ProbeReading(proven=True, final=True))
    verified(lambda t: replace(GOOD, invocation_id="a" if t < 30 else "b"), asked)
    assert len(asked.probed) == 2


def test_wrong_answers_are_final_and_missing_ones_are_waited_for() -> None:
    """An engine that loads its model lazily may need a moment; one that answers wrongly will go on so."""
    wrong = Asked(probe=lambda _t: ProbeReading(proven=False, final=True, detail="serving input constant"))
    seen, seconds = verified(lambda _t: GOOD, wrong)
    assert (seen.effect, seen.reason, seconds) == (Effect.NOT_TAKEN, "serving input constant", 0)
    slow = Asked(probe=lambda t: ProbeReading(proven=t > 40, final=t > 40, detail="no answer"))
    assert verified(lambda _t: GOOD, slow)[0].effect is Effect.CONFIRMED
