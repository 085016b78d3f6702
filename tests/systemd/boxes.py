"""A machine of its own for a test: a real systemd as PID 1 in private namespaces, see `box`."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("box")
SOURCE = "/usr/src/quantum-clm"
"""Where a box sees the working tree, read-only and live."""
VENV = "/usr/lib/quantum-clm-test-venv"
"""Where a box sees a copy-on-write view of the virtual environment that the tests run in."""

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A booted machine; commands run in it as root."""

    name: str

    def run(
        self, *command: str, check: bool = True, timeout_s: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check` a failure shows what the command said."""
        done = _call(self.name, "exec", "--", *command, timeout_s=timeout_s, stdin=stdin)
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def out(self, *command: str, timeout_s: float = 60) -> str:
        """Return what a command printed, without the last newline."""
        return self.run(*command, timeout_s=timeout_s).stdout.rstrip("\n")

    def as_user(self, user: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody else, without any right of root's."""
        return self.run(
            "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--", *command, check=check
        )

    def write(self, path: str, text: str, *, mode: str = "0644", owner: str = "root:root") -> None:
        """Put a file there, with its directories."""
        user, _, group = owner.partition(":")
        self.run("install", "-D", "-m", mode, "-o", user, "-g", group, "/dev/stdin", path, stdin=text)

    def read(self, path: str) -> str:
        """Return the text of a file, its last newline included."""
        return self.run("cat", path).stdout

    def exists(self, path: str) -> bool:
        """Return whether there is something at `path`, a dangling link included."""
        return self.run("test", "-e", path, "-o", "-L", path, check=False).returncode == 0

    def stat(self, path: str) -> str:
        """Return `user:group mode` of what a path leads to."""
        return self.out("stat", "-L", "-c", "%U:%G %a", path)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.out("systemctl", "show", "-P", name, unit)

    def environment_of(self, pid: int | str) -> dict[str, str]:
        """Return the environment of a process, as it was started with."""
        entries = self.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
        return dict(entry.partition("=")[::2] for entry in entries if entry)

    def journal(self, unit: str) -> list[str]:
        """Return the messages of a unit and about it, oldest first."""
        lines = self.out("journalctl", "-u", unit, "-o", "json", "--no-pager").splitlines()
        return [_text(json.loads(line).get("MESSAGE")) for line in lines]

    def redis(self, *command: str) -> str:
        """Return what the Redis server of the box answers."""
        return self.out("redis-cli", *command)

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 30) -> None:
        """Return as soon as the condition holds.

        Raises:
            AssertionError: it did not in time; says what was waited for, and the end of the journal.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                tail = self.out("journalctl", "-n", "30", "--no-pager", "-o", "cat")
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{tail}")
            time.sleep(0.1)


@contextmanager
def booted(*binds: str) -> Iterator[Box]:
    """Boot a box that sees the working tree and the virtual environment, and take it down whatever happens.

    Further binds are options of `box up`: "--ro=SRC:DST" and so on.
    """
    name = f"t{os.getpid()}-{next(_numbers)}"
    options = [f"--ro={PROJECT}:{SOURCE}", f"--cow={sys.prefix}:{VENV}", *binds]
    arguments = [part for option in options for part in option.split("=", 1)]
    try:
        up = _call(name, "up", "--owner", str(os.getpid()), *arguments, timeout_s=90)
        assert up.returncode == 0, f"the box does not boot:\n{up.stdout}{up.stderr}"
        yield Box(name=name)
    finally:
        _call(name, "down", "--now", timeout_s=60)


def require_service_python() -> None:
    """Skip where no service could run this virtual environment: its Python lives in somebody's home."""
    base = Path(sys.base_prefix).resolve()
    if any(base.is_relative_to(home) for home in ("/root", "/home", "/tmp")):
        pytest.skip(f"the virtual environment was made with a Python under {base}; use /usr/bin/python3")


def _call(
    name: str, *arguments: str, timeout_s: float, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *arguments],
        input=stdin or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, "BOX_NAME": name},
    )


def _text(message: object) -> str:
    """Return a journal message; those with control characters travel as lists of bytes."""
    return bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
