"""The engine's journal line that names the file it loaded."""

import subprocess

from clm.engine.systemctl import Run, run_program

FILE = "{file}"
"""Placeholder for the model file's name in the pattern."""
_TIMEOUT_S = 10.0
_LINES = 5000


class JournalWitness:
    """Searches the journal of one engine start for a plain text; no regular expression."""

    def __init__(self, pattern: str, *, run: Run = run_program) -> None:
        self._pattern = pattern
        self._run = run

    def missing(self, invocation_id: str, file_name: str) -> str:
        """Return why the journal does not confirm that this start loaded the file, or "" if it does."""
        wanted = self._pattern.replace(FILE, file_name)
        if not invocation_id:
            return "the service manager names no invocation whose journal could be read"
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}"]
        try:
            # The invocation id selects one start of the unit: an earlier start may have logged the same
            # file.
            done = self._run([*command, f"_SYSTEMD_INVOCATION_ID={invocation_id}"], _TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return f"the journal cannot be read: {exc}"
        if any(wanted in line for line in done.stdout.splitlines()):
            return ""
        if done.returncode != 0 or not done.stdout:
            detail = " ".join(done.stderr.split()) or "it has no line of this start"
            return f"the journal cannot be read ({detail}): is the user in group systemd-journal?"
        return f"the journal has no line with {wanted!r} since the engine's start"
