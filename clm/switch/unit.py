"""The engine's unit for root's helper: restart it, and check that it does not run as root."""

import pwd
import re

from clm.engine import systemctl
from clm.errors import PromotionError

_ROOTS_PREFIXES = {"privileged", "no-setuid"}
"""systemd's words for the prefixes `+` and `!` of ExecStart=: they keep root's rights despite User=."""

_ROOTS_CAPABILITIES = {
    f"cap_{name}"
    for name in (
        *("chown", "dac_override", "dac_read_search", "fowner", "setfcap", "setgid", "setuid"),
        *("sys_admin", "sys_module", "sys_ptrace", "sys_rawio"),
    )
}


class SystemdUnit:
    """One unit of systemd."""

    def __init__(self, name: str, *, run: systemctl.Run = systemctl.run_program) -> None:
        self._name = name
        self._run = run

    def refuse_root(self) -> None:
        """Return if the unit gives up root's rights before it loads a model.

        Raises:
            PromotionError: ENGINE_RUNS_AS_ROOT; ENGINE_UNREACHABLE if systemd does not know the unit.
        """
        shown = systemctl.systemctl(
            self._name,
            *("show", "--property", "LoadState,User,DynamicUser,AmbientCapabilities,ExecStartEx"),
            code="ENGINE_UNREACHABLE",
            run=self._run,
        )
        facts = dict(line.partition("=")[::2] for line in shown.splitlines())
        if facts.get("LoadState") != "loaded":
            raise PromotionError(
                "ENGINE_UNREACHABLE",
                f"{self._name} is {facts.get('LoadState') or 'unknown'} to systemd; check CLM_ENGINE_UNIT",
            )
        flags = set(
            re.findall(r"[\w-]+", " ".join(re.findall(r"; flags=([^;]*)", facts.get("ExecStartEx", ""))))
        )
        if flags & _ROOTS_PREFIXES:
            why = "its ExecStart= has a prefix that keeps root's rights"
        elif held := set(facts.get("AmbientCapabilities", "").split()) & _ROOTS_CAPABILITIES:
            why = f"its AmbientCapabilities= has {' '.join(sorted(held))}, which amounts to root"
        elif facts.get("DynamicUser") != "yes" and _is_root(facts.get("User", "")):
            why = "it runs as root"
        else:
            return
        raise PromotionError(
            "ENGINE_RUNS_AS_ROOT",
            f"{self._name}: {why}, and would load a file that another user made: set User= in the unit",
        )

    def restart(self) -> None:
        """Reset the start limit, restart the unit and return when it has started.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED with systemd's message.
        """
        systemctl.restart(self._name, run=self._run)


def _is_root(user: str) -> bool:
    if user.isdigit():
        return int(user) == 0
    try:
        return not user or pwd.getpwnam(user).pw_uid == 0
    except KeyError:
        return False  # systemd will not start the unit either
