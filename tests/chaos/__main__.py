"""`python -m tests.chaos [PART ...] [-- PYTEST_ARGS]`: run parts one after the other; end with one table.

The exit status is 0 if every part passed, 1 if one failed and 2 for an unknown name.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.figures import Ended, read_figures, table
from tests.chaos.parts import PARTS, Part

HERE = Path(__file__).parent


def run(part: Part, arguments: Sequence[str] = (), directory: Path = HERE) -> Ended:
    """Run the tests of one part in a process of their own."""
    print(f"\n== {part.name}: {part.what}; load {os.getloadavg()[0]:.1f}", flush=True)  # noqa: T201
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clm-chaos-figures-") as scratch:
        figures = Path(scratch) / "figures.json"
        files = [str(directory / name) for name in part.files]
        command = [sys.executable, "-m", "pytest", "-q", f"--figures={figures}", *files, *arguments]
        code = subprocess.run(command, check=False).returncode
        seconds = time.monotonic() - began
        return Ended(part=part.name, code=code, seconds=seconds, figures=read_figures(figures))


def run_all(parts: Sequence[Part], arguments: Sequence[str] = (), directory: Path = HERE) -> int:
    """Run the parts in order and print the table, also after a failure or Ctrl-C."""
    ended: list[Ended] = []
    try:
        for part in parts:
            ended.append(run(part, arguments, directory))  # noqa: PERF401  the table must show the first ones
    finally:
        print(f"\n{table(ended)}", flush=True)  # noqa: T201
    return int(any(one.code for one in ended))


def main(arguments: Sequence[str]) -> int:
    """Run the named parts, or all of them."""
    here = arguments.index("--") if "--" in arguments else len(arguments)
    names, passed_on = arguments[:here], arguments[here + 1 :]
    known = {part.name: part for part in PARTS}
    if unknown := [name for name in names if name not in known]:
        print(f"chaos: no part is named {unknown[0]}; choose from {', '.join(known)}", file=sys.stderr)  # noqa: T201
        return 2
    return run_all([known[name] for name in names or known], passed_on)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
