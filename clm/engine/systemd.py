"""The engine as a systemd unit."""

from collections.abc import Mapping

from clm.engine.proc import variable_of
from clm.engine.systemctl import Run, run_program, systemctl
from clm.errors import PromotionError
from clm.ports import EngineObservation, EngineStatus

_PROPERTIES = "LoadState,ActiveState,SubState,MainPID,InvocationID,NRestarts,User,DynamicUser"
_ROOT = {"", "root", "0"}

_STATUS = {
    "active": EngineStatus.ACTIVE,
    "reloading": EngineStatus.ACTIVE,
    "activating": EngineStatus.ACTIVATING,
    "deactivating": EngineStatus.ACTIVATING,
    "inactive": EngineStatus.INACTIVE,
    "failed": EngineStatus.FAILED,
}


class SystemdEngine:
    """Observes one unit through `systemctl`; root's helper restarts it."""

    def __init__(self, unit: str, *, key: str, run: Run = run_program) -> None:
        self._unit = unit
        self._key = key
        self._run = run

    def observe(self) -> EngineObservation:
        """Return the engine's state from the service manager and /proc.

        Raises:
            PromotionError: ENGINE_UNREACHABLE, also for a unit that is masked or does not exist.
        """
        answer = systemctl(
            self._unit, "show", "--property", _PROPERTIES, code="ENGINE_UNREACHABLE", run=self._run
        )
        facts = dict(line.partition("=")[::2] for line in answer.splitlines() if "=" in line)
        load = facts.get("LoadState", "")
        if load != "loaded":
            advice = {"masked": "unmask it first", "not-found": "check CLM_ENGINE_UNIT"}
            raise PromotionError(
                "ENGINE_UNREACHABLE",
                f"{self._unit} is {load or 'unknown'} to systemd; {advice.get(load, 'see its status')}",
            )
        pid = self._number(facts, "MainPID") or None
        # The running process, not the file: systemd reads EnvironmentFile= only at a start.
        path, why_not = variable_of(pid, self._key) if pid else (None, "no main process")
        state = f"{facts.get('ActiveState', '')} ({facts.get('SubState', '')})"
        return EngineObservation(
            # An unknown state counts as still changing: verification then waits instead of passing.
            status=_STATUS.get(facts.get("ActiveState", ""), EngineStatus.ACTIVATING),
            main_pid=pid,
            invocation_id=facts.get("InvocationID", ""),
            restarts=self._number(facts, "NRestarts"),
            model_path=path,
            detail=", ".join(part for part in (state, why_not) if part),
            runs_as_root=facts.get("User", "") in _ROOT and facts.get("DynamicUser") != "yes",
        )

    def _number(self, facts: Mapping[str, str], name: str) -> int:
        text = facts.get(name) or "0"
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise PromotionError(
                "ENGINE_UNREACHABLE",
                f"{self._unit} has {name}={text[:40]!r}, which is not a number; see its status",
            )
        return int(text)
