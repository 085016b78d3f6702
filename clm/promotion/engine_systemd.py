"""The engine as a systemd unit."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clm.errors import PromotionError
from clm.ports import EngineObservation, EngineStatus
from clm.promotion.process import variable_of

_PROPERTIES = "LoadState,ActiveState,SubState,MainPID,InvocationID,NRestarts,User,DynamicUser"
_SHOW_TIMEOUT_S = 20.0
_ROOT = {"", "root", "0"}

_STATUS = {
    "active": EngineStatus.ACTIVE,
    "reloading": EngineStatus.ACTIVE,
    "activating": EngineStatus.ACTIVATING,
    "deactivating": EngineStatus.ACTIVATING,
    "inactive": EngineStatus.INACTIVE,
    "failed": EngineStatus.FAILED,
}

_COMPLAINTS = (
    (
        "not been booted with systemd",
        "this system does not run systemd; set CLM_ENGINE_CONTROL=process or move",
    ),
    ("Failed to connect to bus", "the service manager does not answer on its bus; is dbus running?"),
    (
        "Interactive authentication required",
        "the polkit rule for this user is missing; run deploy/install.sh --direct-switch",
    ),
    ("Access denied", "this user may not; run deploy/install.sh --direct-switch for the polkit rule"),
    ("is masked", "the unit is masked; `systemctl unmask` it first"),
    ("not found", "there is no such unit; check CLM_ENGINE_UNIT"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended."""

    returncode: int
    stdout: str
    stderr: str


def run_program(command: Sequence[str], timeout_s: float) -> Finished:
    """Run a program to its end.

    Raises:
        OSError: it cannot be started. subprocess.TimeoutExpired: it was ended.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
    )
    return Finished(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


class SystemdEngine:
    """Observes and restarts one unit through `systemctl`, and nothing else."""

    def __init__(
        self,
        unit: str,
        *,
        key: str = "PATCHTST_MODEL_PATH",
        restart_timeout_s: float = 180.0,
        run: Callable[[Sequence[str], float], Finished] = run_program,
    ) -> None:
        self._unit = unit
        self._key = key
        self._restart_timeout_s = restart_timeout_s
        self._run = run

    def observe(self) -> EngineObservation:
        """Return what the service manager and /proc say.

        Raises:
            PromotionError: ENGINE_UNREACHABLE, also for a unit that is masked or does not exist.
        """
        answer = self._systemctl(
            "ENGINE_UNREACHABLE", _SHOW_TIMEOUT_S, "show", "--property", _PROPERTIES, self._unit
        )
        facts = dict(line.partition("=")[::2] for line in answer.splitlines() if "=" in line)
        load = facts.get("LoadState", "")
        if load != "loaded":
            advice = {"masked": "unmask it first", "not-found": "check CLM_ENGINE_UNIT"}
            raise PromotionError(
                "ENGINE_UNREACHABLE",
                f"{self._unit} is {load or 'unknown'} to systemd; {advice.get(load, 'see its status')}",
            )
        pid = int(facts.get("MainPID") or 0) or None
        path, why_not = variable_of(pid, self._key) if pid else (None, "no main process")
        state = f"{facts.get('ActiveState', '')} ({facts.get('SubState', '')})"
        return EngineObservation(
            status=_STATUS.get(facts.get("ActiveState", ""), EngineStatus.ACTIVATING),
            main_pid=pid,
            invocation_id=facts.get("InvocationID", ""),
            restarts=int(facts.get("NRestarts") or 0),
            model_path=path,
            detail=", ".join(part for part in (state, why_not) if part),
            runs_as_root=facts.get("User", "") in _ROOT and facts.get("DynamicUser") != "yes",
        )

    def restart(self) -> None:
        """Clear a start limit, restart the unit, and return when the job is done.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED with systemd's words.
        """
        self._clear_start_limit()
        self._systemctl("ENGINE_RESTART_FAILED", self._restart_timeout_s, "restart", self._unit)

    def refuse_uncontrollable(self) -> None:
        """Ask for the right to restart by clearing a start limit, which changes nothing that serves.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED with what to do.
        """
        self._clear_start_limit()

    def _clear_start_limit(self) -> None:
        try:
            self._systemctl("ENGINE_RESTART_FAILED", _SHOW_TIMEOUT_S, "reset-failed", self._unit)
        except PromotionError as error:
            # systemd forgets a unit that is stopped and did not fail: then there is no limit to clear.
            if "not loaded" not in error.message:
                raise

    def _systemctl(self, code: str, timeout_s: float, *arguments: str) -> str:
        command = ["systemctl", "--no-ask-password", "--no-pager", *arguments]
        try:
            done = self._run(command, timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise PromotionError(
                code, f"`{' '.join(command)}` did not end within {timeout_s:.0f} s; see `systemctl list-jobs`"
            ) from exc
        except OSError as exc:
            raise PromotionError(
                "ENGINE_UNREACHABLE", f"systemctl cannot be started ({exc.strerror}); is systemd installed?"
            ) from exc
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            advice = next(
                (text for sign, text in _COMPLAINTS if sign in said), "see `journalctl -u` of the unit"
            )
            raise PromotionError(code, f"{self._unit}: {arguments[0]} failed: {advice} ({said})")
        return done.stdout
