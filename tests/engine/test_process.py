"""The engine as a process of ours: it outlives who started it, and no other is ever mistaken for it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clm.engine.proc import identity_of
from clm.errors import PromotionError
from clm.ports import EngineStatus
from tests.promotion.server import KEY, Server, wait_until


def test_an_engine_that_was_never_started_is_inactive(stopped_server: Server) -> None:
    """No note, no process."""
    seen = stopped_server.engine.observe()
    assert (seen.status, seen.main_pid) == (EngineStatus.INACTIVE, None)


def test_it_runs_with_the_files_variables_and_a_new_identity_each_time(server: Server) -> None:
    """The environment is read once, at the start: that is why a change needs a restart."""
    first = server.engine.observe()
    assert (first.status, first.model_path) == (EngineStatus.ACTIVE, str(server.old_path))
    server.engine.restart()
    second = server.engine.observe()
    assert second.invocation_id != first.invocation_id
    assert first.main_pid is not None
    assert identity_of(first.main_pid) is None


def test_l14_a_process_whose_name_is_no_utf8_is_identified(tmp_path: Path) -> None:
    """Any process may have the number that was noted; its name is whatever its file is called."""
    odd = os.fsencode(tmp_path) + b"/\xff\xfe)\n"
    shutil.copy(shutil.which("sleep") or "", os.fsdecode(odd))
    with subprocess.Popen([odd, "60"]) as process:
        seen = identity_of(process.pid)
        process.kill()
    assert seen is not None
    assert seen.pid == process.pid


def test_it_lives_on_when_its_starter_is_killed(stopped_server: Server) -> None:
    """A cycle in the foreground ends; the engine must not end with it."""
    pid = os.fork()
    if pid == 0:
        stopped_server.engine.restart()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(stopped_server.answers)
    seen = stopped_server.engine.observe()
    assert seen.main_pid is not None
    assert os.getsid(seen.main_pid) == seen.main_pid


def test_a_dead_engine_is_failed(server: Server) -> None:
    """Also while its entry in the process table waits to be taken off."""
    pid = server.engine.observe().main_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.engine.observe().status is EngineStatus.FAILED)


def test_a_stranger_with_the_same_pid_is_neither_seen_nor_ended(stopped_server: Server) -> None:
    """Numbers are given out again; start times are not."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (stopped_server.root / "engine.pid").write_text(f"{stranger.pid} boot:1\n")
        assert stopped_server.engine.observe().status is EngineStatus.FAILED
        stopped_server.engine.stop()
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.3)
        stranger.kill()


def test_a_zombie_is_nobody() -> None:
    """Whose parent does not look keeps its number after its death."""
    with subprocess.Popen(["true"]) as dead:
        wait_until(lambda: ") Z " in Path(f"/proc/{dead.pid}/stat").read_text())
        assert identity_of(dead.pid) is None


def test_an_engine_that_ignores_sigterm_is_killed(stopped_server: Server) -> None:
    """A restart must end."""
    ready = stopped_server.root / "ready"
    deaf = (
        "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(60)"
    )
    engine = stopped_server.engine_of([sys.executable, "-c", deaf, str(ready)], stop_timeout_s=0.3)
    engine.restart()
    wait_until(ready.exists)
    engine.stop()
    assert engine.observe().status is EngineStatus.FAILED


def test_a_command_that_does_not_exist_is_named(stopped_server: Server) -> None:
    """It fails at once or is seen to have failed; the log says which command."""
    engine = stopped_server.engine_of(["/no/such/engine"])
    engine.restart()
    wait_until(lambda: engine.observe().status is EngineStatus.FAILED)
    assert "cannot execute /no/such/engine" in (stopped_server.root / "engine.log").read_text()


def test_a_pid_file_that_is_none_is_refused(stopped_server: Server) -> None:
    """Whom to end is never guessed."""
    (stopped_server.root / "engine.pid").write_text("all of them\n")
    with pytest.raises(PromotionError, match="ENGINE_UNREACHABLE"):
        stopped_server.engine.restart()
    (stopped_server.root / "engine.pid").unlink()


def test_nothing_of_ours_leaks_into_its_environment(server: Server) -> None:
    """It gets the base environment and the file's variables, the file's last."""
    pid = server.engine.observe().main_pid
    names = {e.split(b"=")[0].decode() for e in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if e}
    expected = {"AI_ENGINE_LOG", "REDIS_PASSWORD", "AI_ENGINE_SYMBOLS", KEY, "PATCHTST_SHADOW_ONLY"}
    assert names == expected | {"ENGINE_PORT", "LAST", "PATH"}
