"""`python3 -I -S DIRECTORY`, started by quantum-clm-switch@.service; standard input is a connection."""

import sys
from pathlib import Path

from clm.switch.trust import weakness_of_this_program

_SYSTEMCTL = Path("/usr/bin/systemctl")


def main() -> int:
    """Handle the connection's request and return the exit code."""
    if why := weakness_of_this_program(_SYSTEMCTL):
        sys.stderr.write(f"SWITCH_UNTRUSTED: root would run code that others can change: {why}\n")
        return 78
    # Imported only now, after the check of the code.
    from clm.switch.connection import answer_once

    return answer_once()


if __name__ == "__main__":
    raise SystemExit(main())
