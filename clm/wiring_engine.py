"""Adapters for the engine and its files, made from the settings."""

import shlex
import socket
from functools import partial

from clm.engine.env_file import EnvFile
from clm.engine.process import ProcessEngine, Program
from clm.engine.switch_direct import DirectSwitch
from clm.engine.switch_helper import HelperSwitch, ask
from clm.engine.systemd import SystemdEngine
from clm.ports import Engine, Switch
from clm.promotion.policy import PromotionPolicy, ServedEngine
from clm.settings import Settings, inherited_environment


def served_engine_of(settings: Settings, *, root: socket.socket | None = None) -> ServedEngine:
    """Return the engine, its files and its switch; `root` is as for `switch_of`."""
    return ServedEngine(
        line=settings.line,
        models_dir=settings.models_dir,
        env_file=EnvFile(settings.engine_env_file),
        engine=engine_of(settings),
        switch=switch_of(settings, root=root),
    )


def engine_of(settings: Settings) -> Engine:
    """Return the adapter for whatever runs the engine."""
    if settings.engine_control == "systemd":
        return SystemdEngine(settings.engine_unit, key=settings.line.model_key)
    return own_engine(settings)


def own_engine(settings: Settings) -> ProcessEngine:
    """Return the engine that is a process of ours."""
    program = Program(
        command=tuple(shlex.split(settings.engine_command)),
        environment=inherited_environment(),
        env_file=settings.engine_env_file,
        pid_file=settings.state_dir / "engine.pid",
        log_file=settings.state_dir / "engine.log",
    )
    return ProcessEngine(program, key=settings.line.model_key)


def switch_of(settings: Settings, *, root: socket.socket | None = None) -> Switch:
    """Return what switches models: root's helper for a unit, this process for a process of ours.

    `root` is a connection to the helper that was made by root.
    """
    env_file = EnvFile(settings.engine_env_file)
    if settings.engine_control == "process":
        return DirectSwitch(
            env_file, line=settings.line, engine=own_engine(settings), models_dir=settings.models_dir
        )
    ask_as_root = partial(ask, connection=root) if root else ask
    return HelperSwitch(env_file, line=settings.line, models_dir=settings.models_dir, ask_as_root=ask_as_root)


def promotion_policy(settings: Settings) -> PromotionPolicy:
    """Return the waits and bounds of a promotion."""
    return PromotionPolicy(
        active_timeout_s=settings.active_timeout_s,
        stable_s=settings.stable_s,
        min_free_bytes=settings.promotion_min_free_mb * 1_000_000,
        health_url=settings.engine_health_url or None,
        probe_url=settings.engine_probe_url or None,
        journal_pattern=settings.engine_journal_pattern or None,
        engine_loads=settings.engine_loads,
        engine_may_be_down=settings.engine_control == "process",
        mode=settings.promotion_mode,
        promote_live=settings.promote_live,
    )
