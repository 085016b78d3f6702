"""A server whose switch is made by the helper, run in a process of its own that a test can end anywhere."""

import os
import signal
from collections.abc import Callable

from clm.clock import SystemClock
from clm.errors import PromotionError
from clm.promotion.env_file import EnvFile
from clm.promotion.promoter import EnvFilePromoter
from clm.promotion.switch_helper import HelperSwitch
from clm.promotion.switch_order import Report
from clm.switch.helper import serve
from clm.switch.site import Site
from tests.promotion.server import Server


def site_of(server: Server) -> Site:
    """Return the helper's view of this server."""
    own_dir, orders_dir = server.root / "own", server.root / "state" / "switch"
    for directory in (own_dir, orders_dir):
        directory.mkdir(parents=True, exist_ok=True)
    return Site(
        env_file=EnvFile(server.env_path),
        models_dir=server.models,
        artefacts_dir=server.root / "artefacts",
        orders_dir=orders_dir,
        own_dir=own_dir,
        engine_unit="stand-in.service",
    )


class Helper:
    """Starts the helper as systemd would: a process, of which the exit code is all that comes back."""

    def __init__(self, server: Server) -> None:
        self.site = site_of(server)
        self.passed: list[str] = []
        self.and_the_daemon = False
        """Whether whoever started the helper dies with it."""
        self._server = server
        self._deadly: tuple[str, int] | None = None

    def die_at(self, point: str, nth: int = 1) -> None:
        """Let the helper be killed at the nth passage of this checkpoint, once."""
        self._deadly = (point, nth)

    def start(self, name: str) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            code = 1
            try:
                code = 74 if self._serve(name, lambda p: os.write(writing, p.encode() + b"\n")).code else 0
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as points:
            self._count(points.read().split())
        _, status = os.waitpid(pid, 0)
        if status:
            raise PromotionError("SWITCH_FAILED", f"the helper ended with status {status}")

    def _serve(self, name: str, tell: Callable[[str], object]) -> Report:
        left = [self._deadly[1]] if self._deadly else [0]

        def pass_by(point: str) -> None:
            tell(point)
            if self._deadly and point == self._deadly[0]:
                left[0] -= 1
                if left[0] == 0:
                    if self.and_the_daemon:
                        os.kill(os.getppid(), signal.SIGKILL)
                    os.kill(os.getpid(), signal.SIGKILL)

        return serve(self.site, name, restart=lambda _unit: self._server.engine.restart(), checkpoint=pass_by)

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
            models_dir=self.site.models_dir,
            orders_dir=self.site.orders_dir,
            reports_dir=self.site.own_dir,
            start=self.start,
            checkpoint=checkpoint,
        )

    def promoter(self, **policy: object) -> EnvFilePromoter:
        """Return a promoter that switches by this helper."""
        server = self._server
        return EnvFilePromoter(
            registry=server.registry,
            models_dir=server.models,
            env_file=EnvFile(server.env_path),
            engine=server.engine,
            switch=self.switch(),
            log=server.log,
            clock=SystemClock(),
            policy=server.policy(**policy),
        )
