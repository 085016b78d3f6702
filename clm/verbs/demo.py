"""`clm demo`: a market, a store, an engine and one learning cycle, all below one directory.

Everything is real but the market: the store is SQLite, the engine is a process that loads the
promoted file, and the cycle is the one that the daemon runs.
"""

import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from clm.clock import SystemClock
from clm.data.simulator import simulate
from clm.domain.job import EpochReport
from clm.engine.env_file import parse
from clm.errors import ConfigError
from clm.ports import StopSignal
from clm.settings import CONFIG_FILE, Settings, below, load_settings
from clm.store.create import create_store, insert_samples
from clm.verbs.run import run_once
from clm.wiring_engine import own_engine

SAMPLES = 10_000
SEED = 20
SIGNAL = 2.0
"""Learnable enough to show in one training on two cores."""
ENGINE = Path(__file__).parents[2] / "examples" / "engine.py"


def run_demo(
    root: Path,
    say: Callable[[str], None],
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> Mapping[str, object]:
    """Create what is missing below `root`, run one cycle, and print all paths."""
    _write_config(root)
    settings = load_settings(parse(below(root, CONFIG_FILE).read_bytes()), {"root": root})
    _make_store(settings, say)
    _make_engine(settings, say)
    answer = run_once(settings, say, stop=stop, on_epoch=on_epoch, promote=True)
    engine = own_engine(settings).observe()
    say("")
    say(f"store          {settings.store}")
    say(f"models         {settings.models_dir}")
    say(f"engine env     {settings.engine_env_file}")
    say(
        f"engine         {engine.status.value}, pid {engine.main_pid}, "
        f"serves {engine.model_path or 'no model'}"
    )
    say(f"engine log     {settings.state_dir / 'engine.log'}; `kill {engine.main_pid}` ends the engine")
    say(f"runs           {settings.runs_dir}")
    say(f"more           CLM_ROOT={root} {sys.argv[0]} status | runs | run | doctor")
    return {**answer, "root": str(root), "engine": {"pid": engine.main_pid, "model_path": engine.model_path}}


def _write_config(root: Path) -> None:
    path = below(root, CONFIG_FILE)
    if path.exists():
        return
    if not ENGINE.exists():
        raise ConfigError("DEMO_ENGINE", f"{ENGINE} is missing: the demonstration runs from the source tree")
    path.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = shlex.join([sys.executable, str(ENGINE), "--port", str(port)])
    path.write_text(
        f"# Settings of the demonstration; the engine is a process instead of a systemd unit.\n"
        f"CLM_ENGINE__CONTROL=process\nCLM_ENGINE_COMMAND={command}\n"
        f"CLM_ENGINE_HEALTH_URL=http://127.0.0.1:{port}/health/live\nCLM_STABLE_S=2\nCLM_ACTIVE_TIMEOUT_S=60\n",
        encoding="utf-8",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_store(settings: Settings, say: Callable[[str], None]) -> None:
    if settings.store.exists():
        return
    settings.store.parent.mkdir(parents=True, exist_ok=True)
    part = settings.store.with_suffix(".part")  # a killed demonstration starts from the beginning
    part.unlink(missing_ok=True)
    create_store(part)
    until = SystemClock().now().replace(minute=0, second=0, microsecond=0)
    count = insert_samples(
        part,
        (s.as_row() for s in simulate(seed=SEED, n_samples=SAMPLES, until=until, signal=SIGNAL)),
    )
    part.rename(settings.store)
    say(f"simulated a market and {count} samples of it (seed {SEED})")


def _make_engine(settings: Settings, say: Callable[[str], None]) -> None:
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    env_file = settings.engine_env_file
    if not env_file.exists():
        env_file.parent.mkdir(parents=True, exist_ok=True)
        env_file.write_text(
            f"# Environment of the engine\n{settings.line.shadow_key}=true\n"
            f"ENGINE_MODELS_DIR={settings.models_dir}\nENGINE_ARTEFACTS_DIR={settings.artefacts_dir}\n",
            encoding="utf-8",
        )
    engine = own_engine(settings)
    if engine.observe().main_pid is None:
        engine.restart()
        say(f"started the stand-in engine, pid {engine.observe().main_pid}")
