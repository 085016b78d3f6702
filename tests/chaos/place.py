"""A server that is put back to its first state in milliseconds, and children that die in it."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from clm.artefacts.files import sha256_of
from clm.artefacts.manifest import Artefact
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import EnvFile
from clm.engine.process import ProcessEngine
from clm.engine.switch_direct import DirectSwitch
from clm.engine.switch_helper import HelperSwitch
from clm.ports import EngineStatus, PromotionState
from clm.promotion.promoter import EnvFilePromoter, PromotionPolicy
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.switch.helper import Helper
from tests.builders import promotion_start
from tests.chaos.failpoints import arm
from tests.promotion.server import NEW, Server, manifest
from tests.switch.helped import StandInUnit, site_of

ENGINE = Path(__file__).with_name("small_engine.py")
MODEL_BYTES = 200_000
GOOD, BAD = b"good", b"crash"
FIRST_RUN, RUN = "p07_first", "p07_chaos"


P = TypeVar("P", bound="Place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended."""

    points: tuple[str, ...]
    """What it was about to do, in order; the last is where it was killed, if it was."""
    killed: bool
    outcome: str
    """The promotion's state, or the error that came out; empty where it was killed."""


class Place(Server):
    """The server of the promotion tests, with a champion that was promoted and a quick engine."""

    @property
    def base(self) -> Path:
        return self.root.with_name(self.root.name + ".base")

    @property
    def engine(self) -> ProcessEngine:
        return self.engine_of([sys.executable, "-I", "-S", str(ENGINE)], PATH=os.environ["PATH"])

    def process_file(self, suffix: str) -> Path:
        # Next to the root, not in it: pid and log belong to this boot and not to the disk.
        return self.root.with_name(f"{self.root.name}.{suffix}")

    def policy(self, **changes: object) -> PromotionPolicy:
        # Long enough for a machine under load: a bad model exits immediately, so no test waits this long.
        quick = {"active_timeout_s": 30.0, "stable_s": 0.01, "poll_s": 0.005, "identity_grace_s": 5.0}
        return super().policy(**{**quick, **changes})

    def build(self, content: bytes, journal_mode: str = "delete") -> None:
        """Make the first state: a champion that was committed, and a registered candidate."""
        self.root.mkdir(parents=True, exist_ok=True)
        template = self.root / "template.db"
        create_store(template)
        migrate(template)
        self.lay_out(template)
        template.unlink()
        self.query(f"PRAGMA journal_mode={journal_mode}")
        self.old_path.write_bytes(model(GOOD, "champion"))
        start = promotion_start(self.old_path, sha256_of(self.old_path), run_id=FIRST_RUN)
        first = self.log.begin(start)
        self.log.advance(first.promotion_id, PromotionState.COMMITTED)
        weights = self.root / "weights.pth"
        weights.write_bytes(model(content, "candidate"))
        self.registry.register(weights, manifest(weights.read_bytes()))
        weights.unlink()
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.copytree(self.root, self.base)

    def reset(self) -> None:
        """Return to the first state, with the engine on the champion."""
        self.clear()
        shutil.copytree(self.base, self.root, dirs_exist_ok=True)
        self.boot()

    def clear(self) -> None:
        """Remove everything below the root, not the root itself: it may be a mount point."""
        for entry in self.root.iterdir() if self.root.exists() else ():
            if entry.name == "lost+found":
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def boot(self) -> None:
        """Start the engine as the service manager would, unless it runs on the right file already."""
        if self.served() != self.named() or not self.answers():
            self.start()

    def tear_down(self) -> None:
        """End the engine and remove every file."""
        self.engine.stop()
        for path in (self.root, self.base):
            shutil.rmtree(path, ignore_errors=True)
        for name in ("pid", "log"):
            self.root.with_name(f"{self.root.name}.{name}").unlink(missing_ok=True)

    def candidate(self) -> Artefact:
        return self.registry.get(NEW)

    def promote(self) -> str:
        outcome = self._promoter().promote(self.candidate(), RUN)
        return outcome.state.value

    def recover(self) -> str:
        outcome = self._promoter().recover()
        return outcome.state.value if outcome else "nothing open"

    def _promoter(self) -> EnvFilePromoter:
        env_file = EnvFile(self.env_path)
        return EnvFilePromoter(
            served=self.served_engine(self._helper(env_file) if self.helped else self._direct(env_file)),
            registry=self.registry,
            log=self.log,
            clock=SystemClock(),
            policy=self.policy(),
            checkpoint=self.tell,
        )

    def _direct(self, env_file: EnvFile) -> DirectSwitch:
        return DirectSwitch(
            env_file, line=DEFAULT_LINE, engine=self.engine, models_dir=self.models, checkpoint=self.tell
        )

    def _helper(self, env_file: EnvFile) -> HelperSwitch:
        # In this process: who dies here dies with the helper. That it dies alone is a test of its own.
        unit = StandInUnit(self.engine.restart)
        helper = Helper(site=site_of(self), unit=unit, uid=os.geteuid(), checkpoint=self.tell)
        return HelperSwitch(
            env_file,
            line=DEFAULT_LINE,
            models_dir=self.models,
            ask=helper.serve,
            helpers_uid=os.geteuid(),
            checkpoint=self.tell,
        )

    helped: bool = False
    """Whether the switch is made by the helper of root's."""
    tell: Callable[[str], None] = staticmethod(lambda _point: None)
    """Set in a child that counts its points."""

    def state(self) -> dict[str, object]:
        """Return what is on the disk and what runs, free of pids, times and random ids."""
        seen = self.engine.observe()
        # Any reader of a WAL store may create or remove files next to it.
        files = [
            p.name for p in self.root.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))
        ]
        return {
            "env": self.env_path.read_bytes().decode(),
            "files": sorted(map(_unnumbered, files)),
            "promotions": self.query(
                "SELECT version, state, is_open, attempts FROM clm_promotions ORDER BY id"
            ),
            "models": self.query("SELECT version, is_active FROM clm_models ORDER BY version"),
            "events": self.events(),
            "engine": seen.model_path if seen.status is EngineStatus.ACTIVE else seen.status.value,
        }


def model(word: bytes, name: str) -> bytes:
    """Return a model file of some size whose first word selects the engine's behaviour."""
    head = word + b" " + name.encode() + b" "
    return head + bytes(i * 7 % 251 for i in range(MODEL_BYTES - len(head)))


def child(
    place: P,
    work: Callable[[P], str],
    kill_at: int | None = None,
    *,
    stopped: bool = False,
    dying: Callable[[], None] = lambda: None,
) -> int:
    """Fork a child that works and dies at its `kill_at`-th point; return its pid, to be given to `ended`.

    `stopped`: it waits for SIGCONT before it begins, so that somebody can attach to it. `dying`: what it
    does in its last moment.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        _PIPES[pid] = reader
        return pid
    os.close(reader)
    write, kill, me = os.write, os.kill, os.getpid()
    passed = 0

    def tell(point: str) -> None:
        nonlocal passed
        passed += 1
        write(writer, f"{point}\n".encode())
        if passed == kill_at:
            dying()
            kill(me, signal.SIGKILL)

    try:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        if stopped:
            os.kill(me, signal.SIGSTOP)
        else:
            arm(tell)
            place.tell = tell  # type: ignore[method-assign]
        said = work(place)
    except BaseException as error:  # noqa: BLE001  whatever came out is what the caller wants to see
        said = f"{type(error).__name__}: {error}"
    write(writer, b"\0" + json.dumps(said).encode())
    os._exit(0)


_PIPES: dict[int, int] = {}


def ended(pid: int) -> Ended:
    """Wait for a child and return how it ended."""
    with os.fdopen(_PIPES.pop(pid), "rb") as reader:
        told, _, said = reader.read().partition(b"\0")
    _, status = os.waitpid(pid, 0)
    return Ended(
        points=tuple(told.decode().split("\n")[:-1]),
        killed=os.WIFSIGNALED(status),
        outcome=json.loads(said) if said else "",
    )


def promote(place: Place) -> str:
    return place.promote()


def recover(place: Place) -> str:
    return place.recover()


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.001)


def _unnumbered(name: str) -> str:
    return name.partition(".clm-")[0] + ".clm-N.tmp" if ".clm-" in name else name
