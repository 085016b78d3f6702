"""The engine as a plain process, for development and the demonstration without a service manager."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.clock import SystemClock
from clm.engine.env_file import EnvFile, parse
from clm.engine.proc import ProcessIdentity, identity_of, reap, variable_of
from clm.errors import PromotionError
from clm.ports import Clock, EngineObservation, EngineStatus

_START_TIMEOUT_S = 20.0
_POLL_S = 0.02
_RESET_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGCHLD,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The engine's command and files."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Its environment variables; those of the environment file take precedence."""
    env_file: Path
    pid_file: Path
    """File with the pid and start time of the running process."""
    log_file: Path
    """File for its output."""


class ProcessEngine:
    """Starts a command with the environment file's variables; the process outlives its parent."""

    def __init__(
        self,
        program: Program,
        *,
        key: str,
        stop_timeout_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._program = program
        self._key = key
        self._stop_timeout_s = stop_timeout_s
        self._clock = clock or SystemClock()

    def observe(self) -> EngineObservation:
        """Return whether the recorded process is alive, and which model its environment names."""
        noted = self._noted()
        if noted is None:
            return _without_process(EngineStatus.INACTIVE, "", f"never started: no {self._program.pid_file}")
        if not _lives(noted):
            detail = f"pid {noted.pid} has ended; see {self._program.log_file}"
            return _without_process(EngineStatus.FAILED, noted.name, detail)
        path, why_not = variable_of(noted.pid, self._key)
        return EngineObservation(
            status=EngineStatus.ACTIVE,
            main_pid=noted.pid,
            invocation_id=noted.name,
            restarts=0,
            model_path=path,
            detail=why_not,
        )

    def restart(self) -> None:
        """Stop the recorded process and start the command with the current environment file.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED, ENV_MISSING, ENV_EMPTY, ENV_UNREADABLE, ENV_ENCODING.
        """
        # Read before the stop: if the file is bad, the running engine stays up.
        environment = {**self._program.environment, **parse(EnvFile(self._program.env_file).read().data)}
        self.stop()
        try:
            pid = self._spawn(environment)
        except OSError as exc:
            raise PromotionError(
                "ENGINE_RESTART_FAILED", f"{self._program.command[0]} cannot be started: {exc.strerror}"
            ) from exc
        self._wait_until_noted(pid)

    def stop(self) -> None:
        """Stop the recorded process, by force if it does not exit; no other process is touched."""
        noted = self._noted()
        if noted is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            self._signal(noted, sign)
            deadline = self._clock.monotonic() + self._stop_timeout_s
            while self._clock.monotonic() < deadline:
                if not _lives(noted):
                    return
                self._clock.sleep(_POLL_S)
        raise PromotionError("ENGINE_RESTART_FAILED", f"pid {noted.pid} does not exit, even after SIGKILL")

    def _noted(self) -> ProcessIdentity | None:
        try:
            pid, started = self._program.pid_file.read_text().split()
            return ProcessIdentity(pid=int(pid), started=started)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise PromotionError(
                "ENGINE_UNREACHABLE", f"{self._program.pid_file} does not name a process ({exc}); remove it"
            ) from exc

    def _spawn(self, environment: Mapping[str, str]) -> int:
        # posix_spawn instead of Popen: no object here owns the process, and it outlives us.
        self._program.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._program.pid_file.parent.mkdir(parents=True, exist_ok=True)
        log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            sys.executable,
            [
                sys.executable,
                "-m",
                "clm.engine.launch",
                str(self._program.pid_file),
                *self._program.command,
            ],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._program.log_file), log, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # Its own session, so that Ctrl-C in our terminal does not reach the engine.
            setsid=True,
            setsigmask=(),
            # exec keeps ignored signals ignored (signal(7)), and Python ignores SIGPIPE and SIGXFSZ.
            setsigdef=_RESET_SIGNALS,
        )

    def _wait_until_noted(self, pid: int) -> None:
        deadline = self._clock.monotonic() + _START_TIMEOUT_S
        while True:
            noted = self._noted()
            if noted is not None and noted.pid == pid:
                return
            reap(pid)
            if identity_of(pid) is None or self._clock.monotonic() > deadline:
                raise PromotionError(
                    "ENGINE_RESTART_FAILED",
                    f"`{self._program.command[0]}` did not start; see {self._program.log_file}",
                )
            self._clock.sleep(_POLL_S)

    def _signal(self, noted: ProcessIdentity, sign: signal.Signals) -> None:
        try:
            # A descriptor opened before the identity check cannot refer to another process later.
            handle = os.pidfd_open(noted.pid)
        except ProcessLookupError:
            return
        except OSError as exc:
            raise PromotionError("ENGINE_UNREACHABLE", f"pid {noted.pid}: {exc.strerror}") from exc
        try:
            if _lives(noted):
                signal.pidfd_send_signal(handle, sign)
        except ProcessLookupError:
            return
        except PermissionError as exc:
            raise PromotionError(
                "ENGINE_RESTART_FAILED", f"pid {noted.pid} belongs to another user and cannot be stopped"
            ) from exc
        finally:
            os.close(handle)


def _lives(noted: ProcessIdentity) -> bool:
    reap(noted.pid)
    if identity_of(noted.pid) == noted:
        return True
    reap(noted.pid)  # it may have ended in between, and it is not looked at again
    return False


def _without_process(status: EngineStatus, invocation: str, detail: str) -> EngineObservation:
    return EngineObservation(
        status=status, main_pid=None, invocation_id=invocation, restarts=0, model_path=None, detail=detail
    )
