"""The plan keeps its invariant and reaches its target, whatever interrupts it."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.promotion.plan import Observed, Step, Target, next_step
from tests.promotion.plan_world import (
    NEW,
    OLD,
    THIRD,
    Planner,
    Route,
    World,
    act,
    interferences,
    reachable,
    start,
    violations,
    walk,
)

ORDER = (Step.INSTALL, Step.POINT, Step.RESTART, Step.CONFIRM)
ROUTES = [
    Route(previous=previous, was_running=running, is_good=good)
    for previous, running, good in itertools.product((OLD, None), (True, False), (True, False))
]
MOST_MOVES = 10
"""Four steps forward, four back, the removal of the candidate, and the record of the end."""


def at(**changes: object) -> Observed:
    """An engine on the old model; the new file is not installed."""
    values: dict[str, object] = {
        "installed": False,
        "env_value": OLD,
        "engine_running": True,
        "engine_path": OLD,
        "restarted": False,
        "confirmed": False,
    }
    return Observed(**{**values, **changes})  # type: ignore[arg-type]


def every_observation() -> list[Observed]:
    paths, answers = (OLD, NEW, None, THIRD), (True, False)
    return [
        at(
            installed=installed,
            env_value=named,
            engine_running=running,
            engine_path=path,
            restarted=restarted,
            confirmed=confirmed,
        )
        for installed, named, running, path, restarted, confirmed in itertools.product(
            answers, paths, answers, paths, answers, answers
        )
    ]


def in_order(order: tuple[Step, ...]) -> Planner:
    """Return a planner that asks the questions of `next_step` in this order."""

    def planner(observed: Observed, target: Target) -> Step | None:
        path = None if target.model_path is None else str(target.model_path)
        reached = (observed.engine_running and observed.engine_path == path) or (
            not target.must_serve and not observed.engine_running
        )
        missing = {
            Step.INSTALL: path is not None and not observed.installed,
            Step.POINT: observed.env_value != path,
            Step.RESTART: not reached and not observed.restarted,
            Step.CONFIRM: not reached or (target.must_serve and not observed.confirmed),
        }
        return next((step for step in order if missing[step]), None)

    return planner


def found_wrong(route: Route, planner: Planner, *, operator: bool) -> list[str]:
    """Return what is wrong with the worlds that a promotion can come to, and with the way on from each."""
    wrong = []
    for world in reachable(route, planner, operator=operator):
        wrong += [f"{why}: {world}" for why in violations(world, route)]
        *way, last = walk(world, route, planner)
        if last.end not in _ends(world, route, operator=operator) or len(way) > MOST_MOVES:
            wrong.append(f"it ends {last.end or 'never'} after {len(way)} moves: {world}")
    return wrong


def _ends(world: World, route: Route, *, operator: bool) -> set[str]:
    if world.end:
        return {world.end}
    if operator:
        return {"COMMITTED", "ROLLED_BACK", "SUPERSEDED"}
    return {"COMMITTED" if route.is_good and not world.back else "ROLLED_BACK"}


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_world_that_an_interruption_leaves_keeps_the_invariant_and_leads_to_an_end(
    route: Route, operator: bool
) -> None:
    """Crashes, engine restarts and operators come at any instant, and any number of times."""
    assert found_wrong(route, next_step, operator=operator) == []


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_model_that_an_operator_named_is_never_replaced(route: Route) -> None:
    """The promoter writes only over the other model of its own promotion."""
    theirs = [world for world in reachable(route, operator=True) if world.named == THIRD]
    assert theirs
    for world in theirs:
        assert [after.named for after in walk(world, route)] == [THIRD] * len(walk(world, route))
        assert walk(world, route)[-1].end == "SUPERSEDED"


@settings(deadline=None)
@given(route=st.sampled_from(ROUTES), choices=st.lists(st.integers(0, 15), max_size=60))
def test_a_random_walk_keeps_the_invariant_and_ends_once_the_interruptions_stop(
    route: Route, choices: list[int]
) -> None:
    """Long sequences of interruptions, which the search above visits only as single moves."""
    world = start(route)
    for choice in choices:
        if world.end:
            break
        moves = [act(world, route), *interferences(world, route, operator=True)]
        world = moves[choice % len(moves)]
        assert violations(world, route) == []
    *way, last = walk(world, route)
    assert last.end
    assert violations(last, route) == []
    assert len(way) <= MOST_MOVES


@pytest.mark.parametrize("order", [order for order in itertools.permutations(ORDER) if order != ORDER])
def test_any_other_order_of_the_steps_breaks_the_invariant_or_misses_the_target(
    order: tuple[Step, ...],
) -> None:
    """Control: the checks above notice a wrong order, even without an operator."""
    assert any(found_wrong(route, in_order(order), operator=False) for route in ROUTES)


@pytest.mark.parametrize("must_serve", [True, False])
@pytest.mark.parametrize("path", [NEW, None])
def test_the_planner_of_the_controls_is_the_real_one_in_its_own_order(
    path: str | None, must_serve: bool
) -> None:
    """Otherwise the control above would fail for another reason than the order."""
    target = Target(model_path=None if path is None else Path(path), must_serve=must_serve)
    copy = in_order(ORDER)
    assert [copy(seen, target) for seen in every_observation()] == [
        next_step(seen, target) for seen in every_observation()
    ]


def test_a_promotion_and_its_way_back_take_the_steps_in_order() -> None:
    """The way back has nothing to install: the previous file is still there."""
    steps = [next_step(at(), Target(model_path=Path(NEW)))]
    steps.append(next_step(at(installed=True), Target(model_path=Path(NEW))))
    steps.append(next_step(at(installed=True, env_value=NEW), Target(model_path=Path(NEW))))
    on_new = {"installed": True, "env_value": NEW, "engine_path": NEW}
    steps.append(next_step(at(**on_new), Target(model_path=Path(NEW))))
    steps.append(next_step(at(**on_new, confirmed=True), Target(model_path=Path(NEW))))
    assert steps == [*ORDER, None]
    back = [
        at(**on_new),
        at(**on_new | {"env_value": OLD}),
        at(installed=True),
        at(installed=True, confirmed=True),
    ]
    assert [next_step(seen, Target(model_path=Path(OLD))) for seen in back] == [*ORDER[1:], None]


def test_an_engine_that_fails_after_our_restart_is_not_restarted_again() -> None:
    """CONFIRM fails once, and the caller decides what follows."""
    world = at(installed=True, env_value=NEW, engine_running=False, engine_path=None, restarted=True)
    assert next_step(world, Target(model_path=Path(NEW))) is Step.CONFIRM


def test_an_engine_that_left_the_target_after_its_proof_is_watched_again() -> None:
    """Between the proof and the last look it may have crashed, or loaded what an operator named briefly."""
    for left in ({"engine_path": OLD}, {"engine_running": False, "engine_path": None}):
        world = at(installed=True, env_value=NEW, restarted=True, confirmed=True, **left)
        assert next_step(world, Target(model_path=Path(NEW))) is Step.CONFIRM


@pytest.mark.parametrize(
    ("running", "path", "expected"), [(False, None, None), (True, NEW, Step.RESTART), (True, None, None)]
)
def test_without_a_previous_model_the_engine_only_has_to_stop_running_on_the_new_one(
    running: bool, path: str | None, expected: Step | None
) -> None:
    """There is no model on which it could be proven."""
    world = at(installed=True, env_value=None, engine_running=running, engine_path=path)
    assert next_step(world, Target(model_path=None, must_serve=False)) is expected
