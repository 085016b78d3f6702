"""A small model of a server during one promotion, with every interruption that the planner has to survive.

It has the facts that `plan.py` observes and nothing else. The moves of the promoter follow `forward.py` and
`endings.py`. Moves of others happen between any two of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clm.promotion.plan import Observed, Step, Target, next_step

NEW, OLD, THIRD = "/m/new.pth", "/m/old.pth", "/m/third.pth"
DOWN, TORN = "down", "a file that is not whole"

Planner = Callable[[Observed, Target], Step | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One promotion: what it starts from, and whether the engine serves on its candidate."""

    previous: str | None = OLD
    was_running: bool = True
    is_good: bool = True

    @property
    def must_serve(self) -> bool:
        """Return whether the engine has to serve at the end of the way back."""
        return self.was_running or self.previous is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The server, the promotion's record, and the memory of the process that promotes."""

    whole: bool = False
    """Whether the candidate's file is in its place."""
    named: str | None
    """What the environment file names."""
    engine: str | None
    """The file that the engine loaded when it started; None for no model; DOWN; TORN."""
    back: bool = False
    end: str = ""
    restarted: bool = False
    confirmed: bool = False
    touched: bool = False
    """Whether an operator has written the environment file."""


def start(route: Route) -> World:
    """Return the world right after a promotion began."""
    return World(named=route.previous, engine=route.previous if route.was_running else DOWN)


def forget(world: World, **changes: object) -> World:
    """Return the world without the promoter's memory."""
    return replace(world, restarted=False, confirmed=False, **changes)  # type: ignore[arg-type]


def start_engine(world: World) -> World:
    """Start the engine, by whatever cause: it loads the file that is named."""
    loaded = TORN if world.named == NEW and not world.whole else world.named
    return replace(world, engine=loaded)


def planned(world: World, route: Route, planner: Planner) -> Step | None:
    """Observe the world and return what the planner chooses."""
    path = route.previous if world.back else NEW
    observed = Observed(
        installed=path != NEW or world.whole,
        env_value=world.named,
        engine_running=world.engine != DOWN,
        engine_path=None if world.engine == DOWN else world.engine,
        restarted=world.restarted,
        confirmed=world.confirmed,
    )
    must_serve = route.must_serve if world.back else True
    return planner(observed, Target(model_path=None if path is None else Path(path), must_serve=must_serve))


def act(world: World, route: Route, planner: Planner = next_step) -> World:
    """Return the world after the promoter's next move."""
    step = planned(world, route, planner)
    if world.back and world.whole and world.named != NEW and step is not Step.POINT:
        return replace(world, whole=False)  # the candidate goes before the engine starts again
    if step is None:
        return replace(world, end="ROLLED_BACK" if world.back else "COMMITTED")
    if step is Step.INSTALL:
        return replace(world, whole=True)
    if step is Step.POINT:
        return _point(world, route)
    if step is Step.RESTART:
        return replace(start_engine(world), restarted=True)
    if world.engine == (route.previous if world.back else NEW) and (world.back or route.is_good):
        return replace(world, confirmed=True)
    return forget(world, back=True)


def _point(world: World, route: Route) -> World:
    here, there = (NEW, route.previous) if world.back else (route.previous, NEW)
    return replace(world, named=there) if world.named == here else replace(world, end="SUPERSEDED")


def interferences(world: World, route: Route, *, operator: bool) -> Iterator[World]:
    """Yield what can happen to the world between two moves of the promoter."""
    yield forget(world)
    yield forget(world, back=True)
    if world.engine != DOWN:
        yield start_engine(world)
    if world.engine == NEW and not route.is_good:
        yield replace(world, engine=DOWN)
    if operator:
        choices = {route.previous, THIRD} | ({NEW} if world.whole else set())
        yield from (replace(world, named=named, touched=True) for named in choices)


def reachable(route: Route, planner: Planner = next_step, *, operator: bool) -> set[World]:
    """Return every world that one promotion can come to.

    A death right before a step is a lost memory in the world before it; a death right after a step is a lost
    memory in the world after it.
    """
    found, open_ = {start(route)}, [start(route)]
    while open_:
        world = open_.pop()
        if world.end:
            continue
        reached = {act(world, route, planner), *interferences(world, route, operator=operator)} - found
        found |= reached
        open_ += reached
    return found


def violations(world: World, route: Route) -> list[str]:
    """Return what is violated of the invariant that `plan.py` states."""
    found = []
    if world.named not in {route.previous, NEW} and not world.touched:
        found.append(f"1: {world.named} is named")
    if world.named == NEW and not world.whole:
        found.append("2: the candidate is named and not whole")
    if world.engine == TORN:
        found.append("2: the engine started on a file that is not whole")
    if world.end == "COMMITTED" and not (world.named == world.engine == NEW and route.is_good):
        found.append("4: committed without an engine that serves on the candidate")
    if world.end == "ROLLED_BACK" and not _is_back(world, route):
        found.append("4: rolled back, and the engine is elsewhere")
    return found


def _is_back(world: World, route: Route) -> bool:
    if world.named != route.previous or world.whole:
        return False
    return world.engine in ({route.previous} if route.must_serve else {route.previous, DOWN})


def walk(world: World, route: Route, planner: Planner = next_step) -> list[World]:
    """Let the promoter go on undisturbed; return the worlds on the way, at most 20."""
    worlds = [world]
    while not worlds[-1].end and len(worlds) <= 20:
        worlds.append(act(worlds[-1], route, planner))
    return worlds
