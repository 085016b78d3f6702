"""`python -I -m clm.switch NAME`, started by quantum-clm-switch@NAME.service as root; see deploy/systemd."""

import os
import sys
from pathlib import Path

from clm.errors import ClmError
from clm.switch.helper import serve
from clm.switch.site import site_of

_OWN_DIR = "/var/lib/quantum-clm-switch"


def main(arguments: list[str]) -> int:
    """Serve one order and return the exit code; the journal gets the one line that says how it went."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -I -m clm.switch NAME\n")
        return 64
    environment = os.environ  # noqa: TID251  a program of its own, of which the settings know nothing
    try:
        site = site_of(environment, Path(environment.get("STATE_DIRECTORY", _OWN_DIR)))
        report = serve(site, arguments[0])
    except ClmError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if report.code:
        sys.stderr.write(f"{report.code}: {report.message}\n")
        return 74
    sys.stderr.write(f"{arguments[0]}: done\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
