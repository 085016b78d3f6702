"""A fault at the system call: a kill, a device error or a full disk."""

import os
import re
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.invariants import always, read_dead_store
from tests.chaos.kills import brought_to_its_end
from tests.chaos.place import Ended, Place, child, ended, promote, wait_for
from tests.chaos.sweep import Seen
from tests.chaos.watcher import watched

FAULTS = ("signal=SIGKILL", "error=EIO", "error=ENOSPC")
_MUTATING = (
    "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,truncate,ftruncate,"
    "link,linkat,symlink,symlinkat,fchmod,fchown,fsetxattr"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call of a promotion: the nth of its name, or of its name on one path."""

    name: str
    nth: int
    path: str = ""
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to inject, and where."""

    call: Call
    how: str


def calls_of(place: Place, _job: None = None) -> list[Call]:
    """Return every system call by which one promotion changes something below its root."""
    place.reset()
    _, lines = traced(place, "-e", f"trace={_MUTATING}")
    # Looking at the engine opens files of /proc, as often as it takes: only these can be counted for sure.
    journal = f"{place.store}-journal"
    counts: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in lines:
        if not (match := re.match(r"(\w+)\(", line)):
            continue
        name = match[1]
        path = journal if name == "openat" and f'"{journal}"' in line else ""
        counts[name, path] += 1
        if str(place.root) in line and (name != "openat" or "O_CREAT" in line):
            text = line.replace(str(place.root), "")[:90]
            calls.append(Call(name=name, nth=counts[name, path], path=path, text=text))
    return calls


def inject(place: Place, fault: Fault) -> Seen:
    """Do one promotion with one fault in it, then recover."""
    place.reset()
    before = place.env_path.read_bytes()
    call = fault.call
    with watched(place, before) as watch:
        only = ("-P", f"{place.store}-journal") if call.path else ()
        what = ("-e", f"trace={call.name}", "-e", f"inject={call.name}:{fault.how}:when={call.nth}")
        end, lines = traced(place, *only, *what)
        hit = [line for line in lines if line.startswith(call.name) and str(place.root) in line]
        violations = always(place, before, read_dead_store(place.store))
        outcome, found = brought_to_its_end(place, before)
    return Seen(
        where=f"{fault.how} at {call.name} {call.nth}: {call.text} ({end.outcome or 'killed'})",
        violations=(*violations, *found, *watch.violations),
        left="",
        end=outcome if outcome != "nothing open" else end.outcome.partition(" ")[0],
        looks=watch.looks,
        as_meant=bool(hit) and (end.killed or any("(INJECTED)" in line for line in hit)),
    )


def traced(
    place: Place, *options: str, meanwhile: Callable[[], None] = lambda: None
) -> tuple[Ended, list[str]]:
    """Promote in a child under strace; return how it ended and what strace wrote."""
    pid = child(place, promote, stopped=True)
    wait_for(lambda: _status(pid, "State").startswith("T"), "the child to stop")
    with tempfile.NamedTemporaryFile(prefix="clm-strace-") as out:
        command = ["strace", "-qq", "-y", "-s", "40", *options, "-o", out.name, "-p", str(pid)]
        with subprocess.Popen(command) as tracer:
            wait_for(lambda: _status(pid, "TracerPid") != "0", "strace to attach")
            os.kill(pid, signal.SIGCONT)
            meanwhile()
            end = ended(pid)
            tracer.wait()
        return end, Path(out.name).read_text(errors="replace").splitlines()


def _status(pid: int, field: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return text.partition(f"\n{field}:")[2].partition("\n")[0].strip()
