"""Start the engine: `python -m clm.engine.launch PID_FILE COMMAND...` records its pid, then runs COMMAND.

The process writes the record itself, so a crash of its parent cannot leave an unknown engine.
"""

import os
import sys
from pathlib import Path

from clm.artefacts.files import replace_durably
from clm.engine.proc import identity_of


def main() -> None:
    """Write `pid started` and execute the command in this process."""
    pid_file, command = Path(sys.argv[1]), sys.argv[2:]
    me = identity_of(os.getpid())
    if me is None:
        raise SystemExit(71)
    # Before exec: afterwards this process is the engine, with the same pid and start time.
    replace_durably(pid_file, f"{me.pid} {me.started}\n".encode(), mode=0o644)
    # The inherited environment: the interpreter adds variables to os.environ.
    given = Path("/proc/self/environ").read_bytes()
    environment = dict(entry.partition(b"=")[::2] for entry in given.split(b"\0") if entry)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606  an argument list, no shell
    except OSError as exc:
        sys.stderr.write(f"cannot execute {command[0]}: {exc.strerror}\n")
        raise SystemExit(127) from exc


if __name__ == "__main__":
    main()
