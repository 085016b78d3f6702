"""What the engine says of itself in the journal: the line that names the file it loaded."""

import subprocess

from clm.engine.systemctl import Run, run_program

FILE = "{file}"
"""Stands for the model file's name in the pattern."""
_TIMEOUT_S = 10.0
_LINES = 5000


class JournalWitness:
    """Looks for a line of one start of the engine; plain text, no regular expression."""

    def __init__(self, pattern: str, *, run: Run = run_program) -> None:
        self._pattern = pattern
        self._run = run

    def missing(self, invocation_id: str, file_name: str) -> str:
        """Return why this start of the engine cannot be believed to have loaded the file, "" where it can."""
        wanted = self._pattern.replace(FILE, file_name)
        if not invocation_id:
            return "the service manager names no invocation whose journal could be read"
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--lines={_LINES}"]
        try:
            done = self._run([*command, f"_SYSTEMD_INVOCATION_ID={invocation_id}"], _TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return f"the journal cannot be read: {exc}"
        if any(wanted in line for line in done.stdout.splitlines()):
            return ""
        if done.returncode != 0 or not done.stdout:
            said = " ".join(done.stderr.split()) or "it shows no line of this start"
            return f"the journal cannot be read ({said}): is the user in group systemd-journal?"
        return f"the journal has no line with {wanted!r} since the engine's start"
