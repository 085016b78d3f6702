"""`python3 -I -S DIRECTORY`, started by quantum-clm-switch@.service; standard input is a connection."""

import sys
from pathlib import Path

from clm.switch.trust import weakness_of_this_program

_SYSTEMCTL = Path("/usr/bin/systemctl")


def main() -> int:
    """Answer the one request of the connection and return the exit code."""
    if why := weakness_of_this_program(_SYSTEMCTL):
        sys.stderr.write(f"SWITCH_UNTRUSTED: root would run code that others can change: {why}\n")
        return 78
    # Only now: what is imported here is what was checked.
    from clm.switch.connection import answer_once

    return answer_once()


if __name__ == "__main__":
    raise SystemExit(main())
