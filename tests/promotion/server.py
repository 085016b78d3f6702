"""A small server: real files, a real store, a real engine process; built from its root directory alone."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.artefacts.registry import DirectoryRegistry
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import EnvFile, parse, previous_of
from clm.engine.process import ProcessEngine, Program
from clm.engine.switch_direct import DirectSwitch
from clm.ports import Engine, EngineStatus, PromotionKind, PromotionRequest, PromotionRow, Switch
from clm.promotion.policy import ServedEngine, Workplace
from clm.promotion.promoter import EnvFilePromoter, PromotionPolicy
from clm.settings import Settings, load_settings, named
from clm.store.controls import SqliteControls
from clm.store.promotions import SqlitePromotionLog

KEY = DEFAULT_LINE.model_key
OLD = "patchtst_v20260109_233444"
NEW = "patchtst_v20260301_120000"
ENGINE = Path(__file__).parent / "picky_engine.py"

ENDINGS = {"model.promoted", "model.rolled_back", "model.promotion_ended"}

ENV = """\
# AI engine; owned by operations
AI_ENGINE_LOG=info
REDIS_PASSWORD='pa ss"w$rd'
AI_ENGINE_SYMBOLS=["BTCUSDT","ETHUSDT"]
{line}
PATCHTST_SHADOW_ONLY=true
ENGINE_PORT={port}
LAST="no newline behind me\""""


@dataclass
class Server:
    """Where everything lies, and what a test does there."""

    root: Path
    port: int
    passed: list[str] = field(default_factory=list)
    """Checkpoints, in order."""

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def env_path(self) -> Path:
        return self.root / "etc" / "ai-engine.env"

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def old_path(self) -> Path:
        return self.models / f"{OLD}.pth"

    @property
    def new_path(self) -> Path:
        return self.models / f"{NEW}.pth"

    @property
    def log(self) -> SqlitePromotionLog:
        return SqlitePromotionLog(self.store, SystemClock())

    @property
    def registry(self) -> DirectoryRegistry:
        return DirectoryRegistry(self.root / "artefacts")

    @property
    def engine(self) -> ProcessEngine:
        return self.engine_of([sys.executable, str(ENGINE)], PATH=os.environ["PATH"])

    def engine_of(
        self, command: Sequence[str], *, stop_timeout_s: float = 10.0, **environment: str
    ) -> ProcessEngine:
        """Return an engine that is this command, with the files of this server."""
        program = Program(
            command=tuple(command),
            environment=environment,
            env_file=self.env_path,
            pid_file=self.process_file("pid"),
            log_file=self.process_file("log"),
        )
        return ProcessEngine(program, key=KEY, stop_timeout_s=stop_timeout_s)

    def process_file(self, suffix: str) -> Path:
        return self.root / f"engine.{suffix}"

    def served_engine(self, switch: Switch, engine: Engine | None = None) -> ServedEngine:
        """Return this server's engine and files, changed by this switch."""
        return ServedEngine(
            line=DEFAULT_LINE,
            models_dir=self.models,
            env_file=EnvFile(self.env_path),
            engine=engine or self.engine,
            switch=switch,
        )

    def lay_out(self, template: Path, *, champion: bool = True) -> None:
        """Make the files of a server whose engine serves OLD."""
        for directory in (self.models, self.env_path.parent):
            directory.mkdir(parents=True)
        shutil.copy(template, self.store)
        line = f"{KEY}={self.old_path}" if champion else "# no model yet"
        self.env_path.write_text(ENV.format(line=line, port=self.port))
        if champion:
            self.old_path.write_bytes(b"good champion")

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        self.engine.restart()
        wait_until(self.answers)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def artefact(self, content: bytes = b"good candidate", version: str = NEW, **changes: str) -> Artefact:
        """Register a model of this content; its first word selects the engine's behaviour."""
        weights = self.root / "weights.pth"
        weights.write_bytes(content)
        return self.registry.register(weights, replace(manifest(content, version), **changes))  # type: ignore[arg-type]

    def policy(self, **changes: object) -> PromotionPolicy:
        values: dict[str, object] = {
            "active_timeout_s": 10.0,
            "stable_s": 0.2,
            "poll_s": 0.02,
            "identity_grace_s": 0.5,
            "stopped_timeout_s": 0.5,
            "min_free_bytes": 1,
            "health_url": f"http://127.0.0.1:{self.port}/health",
        }
        return PromotionPolicy(**{**values, **changes})  # type: ignore[arg-type]

    def promoter(
        self, at: Callable[[str], None] = lambda _point: None, *, engine: object = None, **policy: object
    ) -> EnvFilePromoter:
        def checkpoint(point: str) -> None:
            self.passed.append(point)
            at(point)

        engine = engine or self.engine
        switch = DirectSwitch(
            EnvFile(self.env_path),
            line=DEFAULT_LINE,
            engine=engine,  # type: ignore[arg-type]
            models_dir=self.models,
            checkpoint=checkpoint,
        )
        return EnvFilePromoter(
            served=self.served_engine(switch, engine),  # type: ignore[arg-type]
            registry=self.registry,
            log=self.log,
            clock=SystemClock(),
            policy=self.policy(**policy),
            checkpoint=checkpoint,
        )

    @property
    def controls(self) -> SqliteControls:
        return SqliteControls(self.store, SystemClock())

    def settings(self, **changes: object) -> Settings:
        """Return the settings with which a verb of the command line works on this server."""
        return load_settings(None, {**self._settings(), **changes})

    def environment(self) -> dict[str, str]:
        """Return the same settings for a process."""
        values = {named(field): str(value) for field, value in self._settings().items()}
        return {"PATH": os.environ["PATH"], **values}

    def _settings(self) -> dict[str, object]:
        return {
            "store": self.store,
            "state_dir": self.root,
            "models_dir": self.models,
            "engine_env_file": self.env_path,
            "engine_control": "process",
            "engine_command": f"{sys.executable} {ENGINE}",
            "engine_health_url": f"http://127.0.0.1:{self.port}/health",
            "active_timeout_s": 10.0,
            "stable_s": 0.2,
            "min_free_mb": 0,
            "redis_url": f"unix://{self.root}/no-redis.sock",
        }

    def cycle_wish(self) -> PromotionRequest:
        """Return what a cycle that judged against the present champion asks."""
        champion = self.promoter().champion()
        return PromotionRequest(kind=PromotionKind.CYCLE, reason="passed: skill", instead_of=champion)

    def workplace(self) -> Workplace:
        """Return what a promoter of this server works with."""
        return self.promoter()._work

    def killed_at(self, point: str, work: Callable[[EnvFilePromoter], object], nth: int = 1) -> bool:
        """Do `work` in a child that is killed at the nth passage of `point`; return whether it was."""
        pid = os.fork()
        if pid == 0:
            left = [nth]

            def end_here(passed: str) -> None:
                if passed == point:
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            try:
                work(self.promoter(end_here))
            finally:
                os._exit(0)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    def served(self) -> str | None:
        """Return the path that the running engine has in its environment."""
        seen = self.engine.observe()
        return seen.model_path if seen.status is EngineStatus.ACTIVE else None

    def named(self) -> str | None:
        return parse(self.env_path.read_bytes()).get(KEY)

    def states(self) -> list[str]:
        return [row[0] for row in self.query("SELECT state FROM clm_promotions ORDER BY id")]

    def events(self) -> list[str]:
        return [row[0] for row in self.query("SELECT event_type FROM clm_outbox ORDER BY seq")]

    def terminal_events(self) -> list[str]:
        """Return the events for the end of a promotion."""
        return [name for name in self.events() if name in ENDINGS]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(sql).fetchall()

    def open_record(self) -> PromotionRow | None:
        return self.log.open_promotion()

    def files(self) -> dict[str, bytes]:
        """Return every file an operator could look at, with its bytes."""
        places = (self.models, self.env_path.parent)
        return {str(p): p.read_bytes() for place in places for p in sorted(place.rglob("*")) if p.is_file()}

    def taken_back(self, before: dict[str, bytes]) -> dict[str, bytes]:
        """Return what lies there after a rollback: the files of before, one of them kept twice."""
        kept = previous_of(self.env_path.resolve())
        return {**before, str(kept): before[str(self.env_path)]}


def manifest(content: bytes, version: str = NEW) -> Manifest:
    """A manifest for these bytes."""
    return Manifest(
        version=version,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at="2026-03-01T12:00:00.000000Z",
        architecture="engine",
        context_length=128,
        feature_names=("rsi", "ma_cross"),
        decision="PROMOTE",
        metrics={"accuracy": 0.61, "precision": 0.6, "recall": 0.7, "f1": 0.65, "auroc": 0.64},
        lineage=Lineage(
            run_id="p07_x",
            data_fingerprint=hashlib.sha256(content).hexdigest(),
            weights_hash="w" * 64,
            code_version="1",
            settings={},
            seed=7,
        ),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
