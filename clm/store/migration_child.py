"""A migration in a child process, so that the daemon never loads alembic and its 12 MB.

The migration is one transaction. A child that is killed leaves the store as it was, and the next start
runs the migration again. A child whose parent dies finishes its transaction; the next start finds the
store migrated, or waits for the lock.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import orjson

import clm
from clm.errors import ClmError, ConfigError, DataError, StoreBusy
from clm.store.migrate import is_current, upgrade
from clm.store.transactions import BUSY_LIMIT_S

WORK_S = 15.0
"""Seconds for process start and statements, in addition to the wait for the write lock."""
_ERRORS: Mapping[str, type[ClmError]] = {kind.__name__: kind for kind in (ConfigError, DataError, StoreBusy)}
"""The errors of `upgrade`, which the child reports and the parent raises again."""


def migrate_in_child(
    path: Path, *, environment: Mapping[str, str], busy_limit_s: float = BUSY_LIMIT_S
) -> None:
    """Migrate our tables to the newest revision; start a child process only if a migration is due.

    Waits at most `busy_limit_s` seconds to read the revision, then `busy_limit_s + WORK_S` for the child.
    The child inherits only `environment`: the caller must leave secrets out.

    Raises:
        ConfigError: SCHEMA_NEWER, a newer program has used the store; nothing is written.
        DataError: the store cannot be read or written.
        StoreBusy: STORE_BUSY.
        ClmError: MIGRATION_TIMEOUT, MIGRATION_FAILED; nothing is written.
    """
    if not is_current(path, busy_limit_s=busy_limit_s):
        _ask(path, environment, busy_limit_s)


def _ask(path: Path, environment: Mapping[str, str], busy_limit_s: float) -> None:
    limit_s = busy_limit_s + WORK_S
    try:
        done = subprocess.run(
            # -P keeps the working directory out of the import path (Python's command line).
            [sys.executable, "-P", "-m", __name__, str(path), str(busy_limit_s)],
            env={**environment, "PYTHONPATH": str(Path(clm.__file__).parents[1])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
            # Ctrl-C in a terminal must reach only the parent, which shuts down cleanly after the migration.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as exc:
        raise ClmError(
            "MIGRATION_TIMEOUT",
            f"the migration of {path} was ended after {limit_s:g} s; the store is unchanged, start again, "
            "or run `clm store migrate` while no other process uses the store",
        ) from exc
    except OSError as exc:
        raise ClmError(
            "MIGRATION_FAILED",
            f"{sys.executable} cannot be started to migrate {path}: {exc}; check the installation",
        ) from exc
    if done.returncode:
        raise _reported(done.stdout) or _unexplained(path, done.returncode, done.stderr)


def _reported(answer: bytes) -> ClmError | None:
    """Return the error that the child reported, or None if it ended without a valid report."""
    try:
        report = orjson.loads(answer)
        return _ERRORS[report["error"]](str(report["code"]), str(report["message"]))
    except (ValueError, KeyError, TypeError):
        return None


def _unexplained(path: Path, code: int, stderr: bytes) -> ClmError:
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines = stderr.decode(errors="replace").splitlines()
    return ClmError(
        "MIGRATION_FAILED",
        f"the process that migrates {path} {ended}: {lines[-1] if lines else 'no message'}; "
        "the store is unchanged, start again, or run `clm store migrate` to see the error",
    )


def main(arguments: Sequence[str]) -> NoReturn:
    """Migrate the store in the first argument; wait for its lock up to the second argument in seconds."""
    path, busy_limit_s = Path(arguments[0]), float(arguments[1])
    try:
        upgrade(path, busy_limit_s=busy_limit_s)
    except (ConfigError, DataError, StoreBusy) as error:
        report = {"error": type(error).__name__, "code": error.code, "message": error.message}
        sys.stdout.buffer.write(orjson.dumps(report))
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
