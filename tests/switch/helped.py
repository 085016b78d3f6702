"""A server whose switch is made by the helper, run in a process of its own that a test can end anywhere."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import EnvFile
from clm.engine.switch_helper import HelperSwitch
from clm.engine.switch_request import Answer, Request, decode_answer
from clm.errors import PromotionError
from clm.promotion.promoter import EnvFilePromoter
from clm.switch import helper
from clm.switch.site import Site
from tests.promotion.server import Server


def site_of(server: Server) -> Site:
    """Return the helper's view of this server."""
    own_dir = server.root / "own"
    own_dir.mkdir(parents=True, exist_ok=True)
    return Site(
        line=DEFAULT_LINE,
        env_file=EnvFile(server.env_path, locks=False),
        models_dir=server.models,
        artefacts_dir=server.root / "artefacts",
        own_dir=own_dir,
        engine_unit="stand-in.service",
        max_file_bytes=50_000_000,
        is_sandboxed=False,
    )


@dataclass
class StandInUnit:
    """The server's engine process in place of a systemd unit, and what was asked of it."""

    restart: Callable[[], None]
    runs_as_root: bool = False

    def refuse_root(self) -> None:
        if self.runs_as_root:
            raise PromotionError("ENGINE_RUNS_AS_ROOT", "stand-in.service: it runs as root")


def _close_all_but(kept: int) -> None:
    """Close what a forked helper inherits, above all the daemon's locks; one of systemd's has none of it."""
    for handle in (int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        if handle > 2 and handle != kept:
            with contextlib.suppress(OSError):
                os.close(handle)


@dataclass
class Helper:
    """Answers each request in a process of its own, as systemd would start one for each connection."""

    server: Server
    passed: list[str] = field(default_factory=list)
    and_the_daemon: bool = False
    """Whether the process that asks dies with the helper."""
    _deadly: tuple[str, int] | None = None

    @property
    def site(self) -> Site:
        return site_of(self.server)

    def die_at(self, point: str, nth: int = 1) -> None:
        """Let the helper be killed at the nth passage of this checkpoint, once."""
        self._deadly = (point, nth)

    def ask(self, request: Request) -> Answer:
        """Return the answer of a helper that was started for this request."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            _close_all_but(writing)
            try:
                answer = self._serve(request, lambda point: os.write(writing, point.encode() + b"\n"))
                os.write(writing, b"\0" + answer.encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as reader:
            points, _, answer = reader.read().partition(b"\0")
        self._count(points.decode().split())
        os.waitpid(pid, 0)
        if not answer:
            raise PromotionError("SWITCH_FAILED", "the helper ended without an answer")
        return decode_answer(answer)

    def _serve(self, request: Request, report: Callable[[str], object]) -> Answer:
        left = [self._deadly[1]] if self._deadly else [0]

        def pass_by(point: str) -> None:
            report(point)
            if self._deadly and point == self._deadly[0]:
                left[0] -= 1
                if left[0] == 0:
                    if self.and_the_daemon:
                        os.kill(os.getppid(), signal.SIGKILL)
                    os.kill(os.getpid(), signal.SIGKILL)

        unit = StandInUnit(self.server.engine.restart)
        served = helper.Helper(site=self.site, unit=unit, uid=os.geteuid(), checkpoint=pass_by)
        return served.serve(request)

    def _count(self, points: list[str]) -> None:
        self.passed += points
        if self._deadly:
            point, nth = self._deadly
            left = nth - points.count(point)
            self._deadly = (point, left) if left > 0 else None

    def switch(self, checkpoint: Callable[[str], None] = lambda _point: None) -> HelperSwitch:
        """Return the daemon's side of it."""
        return HelperSwitch(
            self.site.env_file,
            line=DEFAULT_LINE,
            models_dir=self.site.models_dir,
            ask=self.ask,
            ask_as_root=self.ask,
            helpers_uid=os.geteuid(),
            checkpoint=checkpoint,
        )

    def promoter(self, **policy: object) -> EnvFilePromoter:
        """Return a promoter that switches by this helper."""
        server = self.server
        return EnvFilePromoter(
            served=server.served_engine(self.switch()),
            registry=server.registry,
            log=server.log,
            clock=SystemClock(),
            policy=server.policy(**policy),
        )
