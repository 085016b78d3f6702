"""Run systemctl and translate its errors.

Standard library only: root's helper also restarts the engine with it.
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
        "this system does not run systemd; set CLM_ENGINE__CONTROL=process or use another machine",
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
    """Result of a program."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[[Sequence[str], float], Finished]


def run_program(command: Sequence[str], timeout_s: float) -> Finished:
    """Run a program to its end; invalid UTF-8 becomes replacement characters.

    Raises:
        OSError: it cannot be started. subprocess.TimeoutExpired: it timed out and was killed.
    """
    # A new session: the program may run as another user and must not reach root's terminal.
    done = subprocess.run(
        command,
        start_new_session=True,
        capture_output=True,
        encoding="utf-8",
        # A journal may contain arbitrary bytes.
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
        PromotionError: `code` with a remedy if it fails or times out; ENGINE_UNREACHABLE if there is no
            such program.
    """
    command = ["systemctl", "--no-ask-password", "--no-pager", *arguments, unit]
    try:
        done = run(command, timeout_s)
    except subprocess.TimeoutExpired as exc:
        raise PromotionError(
            code, f"`{' '.join(command)}` timed out after {timeout_s:.0f} s; see `systemctl list-jobs`"
        ) from exc
    except OSError as exc:
        raise PromotionError(
            "ENGINE_UNREACHABLE", f"systemctl cannot be started ({exc.strerror}); is systemd installed?"
        ) from exc
    if done.returncode != 0:
        detail = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        advice = next(
            (text for sign, text in _COMPLAINTS if sign in detail), "see `journalctl -u` of the unit"
        )
        raise PromotionError(code, f"{unit}: {arguments[0]} failed: {advice} ({detail})")
    return done.stdout


def clear_start_limit(unit: str, *, run: Run = run_program) -> None:
    """Reset earlier failures of a unit, so that systemd allows a start.

    Raises:
        PromotionError: ENGINE_RESTART_FAILED.
    """
    try:
        systemctl(unit, "reset-failed", code="ENGINE_RESTART_FAILED", run=run)
    except PromotionError as error:
        # systemd unloads a stopped unit that did not fail: then there is no limit to reset.
        if "not loaded" not in error.message:
            raise


def restart(unit: str, *, timeout_s: float = RESTART_TIMEOUT_S, run: Run = run_program) -> None:
    """Reset the start limit, restart the unit, and return when the job is done.

    Raises:
        PromotionError: ENGINE_RESTART_FAILED with systemd's message.
    """
    # Past failures must not block a rollback: systemd refuses starts above StartLimitBurst=.
    clear_start_limit(unit, run=run)
    systemctl(unit, "restart", code="ENGINE_RESTART_FAILED", timeout_s=timeout_s, run=run)
