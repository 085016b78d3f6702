"""Mistakes that the suite has to notice, each as a change of the source.

The first nine break the design of promotions, the others stand for faults of docs/reference/faults.md. A
change that no longer fits its file is an error, because a mutant that cannot be made cannot be noticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake, and the tests; at least one of them must fail."""

    name: str
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    tests: tuple[str, ...]
    """Of `make test`; arguments of pytest."""


_SWEEPS = "tests/promotion/test_sweeps.py"
_RECOVERY = "tests/promotion/test_recovery.py"

MUTANTS = (
    Mutant(
        name="the environment file is written in place",
        file="clm/artefacts/files.py",
        old="temporary.rename(path)",
        new="path.write_bytes(data)",
        tests=("tests/engine/test_env_file.py",),
    ),
    Mutant(
        name="the state is stored after the switch",
        file="clm/promotion/forward.py",
        old="    promotion.advance(PromotionState.SWITCHING)\n",
        new="    promotion.point(promotion.record.candidate_path)\n"
        "    promotion.advance(PromotionState.SWITCHING)\n",
        tests=("tests/promotion/test_promoter.py",),
    ),
    Mutant(
        name="no event is stored with the state",
        file="clm/store/outbox.py",
        old="    if not events:\n        return\n    connection.execute(",
        new="    if events or not events:\n        return\n    connection.execute(",
        tests=(_SWEEPS,),
    ),
    Mutant(
        name="the champion's file is deleted before the new model is proven",
        file="clm/promotion/forward.py",
        old="    promotion.point(promotion.record.candidate_path)\n",
        new="    promotion.point(promotion.record.candidate_path)\n"
        "    (promotion.record.previous_path or Path()).unlink()\n",
        tests=(_SWEEPS,),
    ),
    Mutant(
        name="the active model flips in another transaction than the state",
        file="clm/store/promotions.py",
        old="            if state is PromotionState.COMMITTED:\n",
        new="        with self._store.writing() as connection:\n"
        "            if state is PromotionState.COMMITTED:\n",
        tests=("tests/store/test_promotions.py", _SWEEPS),
    ),
    Mutant(
        name="temporary files of killed writers stay",
        file="clm/artefacts/files.py",
        old="    removed = []\n    with translated",
        new="    return ()\n    removed = []\n    with translated",
        tests=(_SWEEPS,),
    ),
    Mutant(
        name="an event is marked as published before it is sent",
        file="clm/bus/relay.py",
        old="        with talking_to(self._client):\n            pipeline",
        new='        self._outbox.mark_published([row.seq for row in rows], "")\n'
        "        with talking_to(self._client):\n            pipeline",
        tests=("tests/bus/test_relay.py",),
    ),
    Mutant(
        name="a candidate is tried without end",
        file="clm/promotion/promoter.py",
        old="exhausted = record.attempts >= self._work.policy.max_attempts",
        new="exhausted = False",
        tests=(_RECOVERY,),
    ),
    Mutant(
        name="recovery deletes the staged file, named or not",
        file="clm/promotion/promoter.py",
        old="        promotion.resume()\n",
        new="        promotion.resume()\n        record.candidate_path.unlink(missing_ok=True)\n",
        tests=(_SWEEPS,),
    ),
    Mutant(
        name="A9: a commit is not on the disk when it returns",
        file="clm/store/connection.py",
        old='return "FULL" if mode == "wal" else "EXTRA"',
        new='return "NORMAL"',
        tests=(_SWEEPS, "-k", "power"),
    ),
    Mutant(
        name="G1: a file is renamed before it is on the disk",
        file="clm/artefacts/files.py",
        old="            os.fsync(handle)\n            _compare",
        new="            _compare",
        tests=(_SWEEPS, "-k", "power"),
    ),
    Mutant(
        name="C9: a repeated event gets another id",
        file="clm/bus/streams.py",
        old='"event_id": row.event_id,',
        new='"event_id": __import__("uuid").uuid4().hex,',
        tests=("tests/bus/test_relay.py",),
    ),
    Mutant(
        name="D3: a dead scheduler thread goes unnoticed",
        file="clm/daemon/service.py",
        old='"schedule": self._schedule.tick_age_s',
        new='"schedule": 0.0',
        tests=("tests/daemon/test_service.py",),
    ),
    Mutant(
        name="H1: an engine that was restarted counts as stable",
        file="clm/promotion/verification.py",
        old="seen.restarts > first.restarts",
        new="seen.restarts < 0",
        tests=("tests/promotion/test_verification.py",),
    ),
    Mutant(
        name="H2: the start limit is not cleared before the restart",
        file="clm/engine/systemctl.py",
        old='    clear_start_limit(unit, run=run)\n    systemctl(unit, "restart"',
        new='    systemctl(unit, "restart"',
        tests=("tests/engine/test_systemd.py",),
    ),
    Mutant(
        name="L3: the model file is not compared after the restart",
        file="clm/switch/helper.py",
        old="if models.fingerprint(self.site, note) != before:",
        new="if before is None:",
        tests=("tests/switch/test_requests.py",),
    ),
    Mutant(
        name="L5: root's helper follows links that other users made",
        file="clm/switch/paths.py",
        old="if not is_protected(os.fstat(here)) or status.st_uid not in {0, os.geteuid()}:",
        new="if status.st_uid < 0:",
        tests=("tests/switch/test_requests.py",),
    ),
)


def mutated(mutant: Mutant, source: str) -> str:
    """Return the file with the mistake in it.

    Raises:
        ValueError: the mistake cannot be made there, or not in one way alone.
    """
    found = source.count(mutant.old)
    if found != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has its text {found} times; rewrite the mutant")
    return source.replace(mutant.old, mutant.new)


def killed_by(mutant: Mutant) -> str | None:
    """Return the test that noticed the mistake, None where all of them passed.

    Raises:
        ValueError: as `mutated`; RuntimeError: the tests could not be run at all.
    """
    with tempfile.TemporaryDirectory(prefix="clm-mutant-") as scratch:
        root = Path(scratch)
        for name in ("clm", "tests", "examples", "deploy", "docs", "etc"):
            shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "pyproject.toml", root)
        target = root / mutant.file
        target.write_text(mutated(mutant, target.read_text()))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in {0, 1}:
        raise RuntimeError(
            f"{mutant.name}: pytest ended {done.returncode}\n{done.stdout[-2000:]}{done.stderr}"
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" - ")[0] if failed else None
