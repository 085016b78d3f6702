"""The one program that service managers are asked with, and what its refusals mean.

Only the standard library: the root helper of the switch restarts the engine with it too.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clm.errors import PromotionError

SHOW_TIMEOUT_S = 20.0
RESTART_TIMEOUT_S = 180.0

_COMPLAINTS = (
    (
        "not been booted with systemd",
        "this system does not run systemd; set CLM_ENGINE_CONTROL=process or move",
    ),
    ("Failed to connect to bus", "the service manager does not answer on its bus; is dbus running?"),
    (
        "Interactive authentication required",
        "this user may not; only root's helper restarts the engine",
    ),
    ("Access denied", "this user may not; only root's helper restarts the engine"),
    ("is masked", "the unit is masked; `systemctl unmask` it first"),
    ("not found", "there is no such unit; check CLM_ENGINE_UNIT, or run deploy/install.sh"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[[Sequence[str], float], Finished]


def run_program(command: Sequence[str], timeout_s: float) -> Finished:
    """Run a program to its end; bytes that are not UTF-8 become replacement characters.

    Raises:
        OSError: it cannot be started. subprocess.TimeoutExpired: it was ended.
    """
    # A session of its own: run as another user it must not reach the terminal of a root who ran the command.
    done = subprocess.run(
        command,
        start_new_session=True,
        capture_output=True,
        encoding="utf-8",
        # A journal holds what any program wrote into it.
        errors="replace",
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Finished(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def systemctl(
    unit: str, *arguments: str, code: str, timeout_s: float = SHOW_TIMEOUT_S, run: Run = run_program
) -> str:
    """Return what `systemctl ARGUMENTS UNIT` printed.

    Raises:
        PromotionError: with `code` and what to do where it refuses or does not end in time,
            ENGINE_UNREACHABLE where there is no such program.
    """
    command = ["systemctl", "--no-ask-password", "--no-pager", *arguments, unit]
    try:
        done = run(command, timeout_s)
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
        advice = next((text for sign, text in _COMPLAINTS if sign in said), "see `journalctl -u` of the unit")
        raise PromotionError(code, f"{unit}: {arguments[0]} failed: {advice} ({said})")
    return done.stdout


def clear_start_limit(unit: str, *, run: Run = run_program) -> None:
    """Forget earlier failures of a unit, so that a start is tried at all.

    Raises:
        PromotionError: ENGINE_RESTART_FAILED.
    """
    try:
        systemctl(unit, "reset-failed", code="ENGINE_RESTART_FAILED", run=run)
    except PromotionError as error:
        # systemd forgets a unit that is stopped and did not fail: then there is no limit to clear.
        if "not loaded" not in error.message:
            raise


def restart(unit: str, *, timeout_s: float = RESTART_TIMEOUT_S, run: Run = run_program) -> None:
    """Clear a start limit, restart the unit, and return when the job is done.

    Raises:
        PromotionError: ENGINE_RESTART_FAILED with systemd's words.
    """
    clear_start_limit(unit, run=run)
    systemctl(unit, "restart", code="ENGINE_RESTART_FAILED", timeout_s=timeout_s, run=run)
