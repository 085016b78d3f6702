"""A verification tells a crash loop from an operator at work, and slowness from failure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from clm.errors import PromotionError
from clm.ports import EngineObservation, EngineStatus
from clm.promotion.policy import PromotionPolicy, Workplace
from clm.promotion.verification import Effect, Verification, verify
from tests.fakes import FakeClock

MODEL = Path("/m/new.pth")
GOOD = EngineObservation(
    status=EngineStatus.ACTIVE,
    main_pid=7,
    invocation_id="a",
    restarts=0,
    model_path=str(MODEL),
    detail="as told",
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

    def refuse_uncontrollable(self) -> None: ...


def verified(at: Callable[[float], EngineObservation], **policy: float) -> tuple[Verification, float]:
    """Verify an engine that behaves so, with the default waits; return the answer and the seconds it took."""
    clock = FakeClock()
    parts: dict[str, object] = dict.fromkeys(Workplace.__slots__)
    values = {**parts, "engine": Timeline(clock, at), "clock": clock, "policy": PromotionPolicy(**policy)}  # type: ignore[arg-type]
    return verify(Workplace(**cast(dict, values)), MODEL), clock.waited_s


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
    """systemd starts it again faster than anybody looks; the counter tells."""
    seen, seconds = verified(lambda t: replace(state, restarts=int(t / 3), invocation_id=str(int(t / 3))))
    assert seen.effect is Effect.NOT_TAKEN
    assert "started anew" in seen.reason
    assert seconds < 5


def test_h9_one_restart_by_a_person_begins_the_window_anew() -> None:
    """Another invocation, no crash counted: somebody restarted it, and it came up on our model."""
    seen, seconds = verified(lambda t: replace(GOOD, invocation_id="a" if t < 30 else "b"))
    assert seen.effect is Effect.CONFIRMED
    assert seconds == pytest.approx(90, abs=1)


def test_h9_restarts_without_end_are_no_stability() -> None:
    """Whoever does that does not want it verified."""
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
