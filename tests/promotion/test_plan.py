"""The next step follows from what is observed, whatever happened before."""

import itertools
from pathlib import Path

import pytest

from clm.promotion.plan import Observed, Step, Target, next_step

NEW, OLD = "/m/new.pth", "/m/old.pth"


def at(**changes: object) -> Observed:
    """A server on the old model, the new file not there."""
    values: dict[str, object] = {
        "installed": False,
        "env_value": OLD,
        "engine_running": True,
        "engine_path": OLD,
        "restarted": False,
        "confirmed": False,
    }
    return Observed(**{**values, **changes})  # type: ignore[arg-type]


def after(observed: Observed, step: Step) -> Observed:
    """The world once a step was done."""
    done: dict[Step, dict[str, object]] = {
        Step.INSTALL: {"installed": True},
        Step.POINT: {"env_value": NEW},
        Step.RESTART: {"engine_running": True, "engine_path": observed.env_value, "restarted": True},
        Step.CONFIRM: {"confirmed": True},
    }
    fields = {name: getattr(observed, name) for name in Observed.__slots__}
    return Observed(**{**fields, **done[step]})  # type: ignore[arg-type]


def steps_from(observed: Observed) -> list[Step]:
    taken = []
    while step := next_step(observed, Target(model_path=Path(NEW))):
        taken.append(step)
        observed = after(observed, step)
        assert len(taken) <= 4
    return taken


def test_a_promotion_is_four_steps_in_order() -> None:
    """The file before its name, the name before the start, the start before the proof."""
    assert steps_from(at()) == [Step.INSTALL, Step.POINT, Step.RESTART, Step.CONFIRM]


@pytest.mark.parametrize("done", range(5))
def test_a_crash_after_any_step_resumes_with_the_rest(done: int) -> None:
    """What is done is seen and not done again; only the proof is asked for anew."""
    steps, world = [Step.INSTALL, Step.POINT, Step.RESTART, Step.CONFIRM], at()
    for step in steps[:done]:
        world = after(world, step)
    fields = {name: getattr(world, name) for name in Observed.__slots__}
    reborn = Observed(**{**fields, "restarted": False, "confirmed": False})
    assert steps_from(reborn) == (steps[done:] or [Step.CONFIRM])


def test_from_anywhere_the_target_is_reached_and_never_without_proof() -> None:
    """All worlds there are: at most four steps, the last one the proof."""
    worlds = itertools.product(
        (True, False), (OLD, NEW, None, "/m/third"), (True, False), (OLD, NEW, None), (True, False)
    )
    for installed, env_value, running, path, restarted in worlds:
        start = at(
            installed=installed,
            env_value=env_value,
            engine_running=running,
            engine_path=path,
            restarted=restarted,
        )
        assert steps_from(start)[-1] is Step.CONFIRM


def test_an_engine_that_fails_after_our_restart_is_not_restarted_for_ever() -> None:
    """The proof is asked for once and says no; what then is not for the plan to say."""
    world = at(installed=True, env_value=NEW, engine_running=False, engine_path=None, restarted=True)
    assert next_step(world, Target(model_path=Path(NEW))) is Step.CONFIRM


@pytest.mark.parametrize(
    ("running", "path", "expected"), [(False, None, None), (True, NEW, Step.RESTART), (True, None, None)]
)
def test_without_a_previous_model_the_engine_only_has_to_be_off_the_new_one(
    running: bool, path: str | None, expected: Step | None
) -> None:
    """There is nothing that it could be proven on."""
    world = at(installed=True, env_value=None, engine_running=running, engine_path=path)
    assert next_step(world, Target(model_path=None, must_serve=False)) is expected
