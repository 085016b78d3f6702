"""A whole server in a box: store, Redis, engine on a first model, quantum-clm installed and configured."""

import math
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson

from clm.clock import SystemClock
from clm.data.simulator import simulate
from clm.store.create import create_store, insert_samples
from tests.systemd.boxes import Box, booted, require_service_python
from tests.systemd.conftest import ENGINE_ENV, install_service

CLM = "quantum-clm.service"
ENGINE = "quantum-ai-engine.service"
STORE = "/opt/quantum/data/quantum_trader.db"
MODELS = "/opt/quantum/ai_engine/models"
FIRST_MODEL = f"{MODELS}/patchtst_v20260101_000000.pth"
ENGINE_ENV_FILE = "/etc/quantum/ai-engine.env"
SETTINGS = "/etc/quantum/clm.env"
PYTHON = "/usr/lib/quantum-clm/venv/bin/python"
CLM_PROGRAM = "/usr/lib/quantum-clm/venv/bin/clm"

QUICK = """
CLM_SCHEDULE=off
CLM_TRAINING__EPOCHS=3
CLM_TUNING__TRIALS=0
CLM_EVALUATION__REPLICATES=200
CLM_ENGINE__STABLE_S=1
CLM_ENGINE_HEALTH_URL=http://127.0.0.1:8001/health/live
"""
"""Seconds instead of minutes; every bar stays as it is shipped."""

_RANDOM_MODEL = f"""
import torch
from clm.models.engine import EngineConfig, EngineNetwork
torch.manual_seed(1)
torch.save({{"model_state_dict": EngineNetwork(EngineConfig()).state_dict()}}, "{FIRST_MODEL}")
"""


def make_store(path: Path, n_samples: int = 2500) -> Path:
    """Make a store whose outcomes follow one feature, the more surely the further it is from its middle."""
    create_store(path)
    until = SystemClock().now().replace(minute=0, second=0, microsecond=0)
    insert_samples(path, (sample.as_row() for sample in simulate(seed=20, n_samples=n_samples, until=until)))
    luck = random.Random(1)
    with closing(sqlite3.connect(path)) as connection:
        for row_id, features, pnl in connection.execute(
            "SELECT id, features, realized_pnl FROM ai_training_samples WHERE target_class IS NOT NULL"
        ).fetchall():
            wins = luck.random() < 1.0 / (1.0 + math.exp((50.0 - orjson.loads(features)[0]) / 8.0))
            size = abs(pnl) or 1.0
            connection.execute(
                "UPDATE ai_training_samples SET target_class=?, realized_pnl=?, target_label=? WHERE id=?",
                ("WIN" if wins else "LOSS", size if wins else -size, 1.0 if wins else -1.0, row_id),
            )
        connection.commit()
    return path


@contextmanager
def server(store: Path, settings: str = QUICK) -> Iterator[Box]:
    """Boot a server with a store, on which quantum-clm is installed and nothing runs."""
    require_service_python()
    with booted(f"--ro={store}:/usr/src/store.db") as box:
        install_service(box)
        box.run("install", "-m", "0640", "-o", "qt", "-g", "qt", "/usr/src/store.db", STORE)
        box.run("sh", "-c", f"echo '{settings}' >>{SETTINGS}")
        yield box


def start_engine(box: Box) -> None:
    """Start the engine on a model that knows nothing."""
    box.run(PYTHON, "-c", _RANDOM_MODEL)
    box.run("chown", "qt:qt", FIRST_MODEL)
    named = ENGINE_ENV + f"PATCHTST_MODEL_PATH={FIRST_MODEL}\nLAST=1\n"
    box.write(ENGINE_ENV_FILE, named, mode="0640", owner="root:qt")
    box.run("systemctl", "start", ENGINE)
    box.wait_for(lambda: any("listens" in line for line in box.journal(ENGINE)), "the engine to listen", 60)


def pid_of(box: Box, unit: str) -> int:
    """Return the main process of a unit, as the box numbers it."""
    return int(box.show(unit, "MainPID"))


def event_names(box: Box) -> list[str]:
    """Return the names of the daemon's own journal lines in order."""
    return [line.split()[0] for line in box.journal(CLM) if line.split()]
