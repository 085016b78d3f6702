"""The daemon as a service: from a request in Redis to an engine on a new model, and its end at any moment."""

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bus.test_service import ACL
from tests.daemon.test_idle_memory import BEFORE_FIRST_CYCLE_MB, BETWEEN_CYCLES_MB
from tests.systemd.boxes import Box
from tests.systemd.conftest import ENGINE_ENV
from tests.systemd.servers import (
    CLM,
    CLM_PROGRAM,
    ENGINE,
    ENGINE_ENV_FILE,
    FIRST_MODEL,
    PYTHON,
    SETTINGS,
    STORE,
    event_names,
    make_store,
    pid_of,
    server,
    start_engine,
)

RETRAIN = ("XADD", "quantum:stream:model.retrain", "*", "model", "patchtst", "source", "test")
PROMOTION_LIMIT_S = 240
ONE_LONG_TRAINING = "CLM_TRAINING__EPOCHS=1000\nCLM_PATIENCE=1000\nCLM_SCHEDULE=off\n"

pytestmark = [pytest.mark.needs_systemd_ns, pytest.mark.needs_redis]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small store with something to learn in it."""
    return make_store(tmp_path_factory.mktemp("store") / "quantum_trader.db")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A server on which one request led to one promotion, and what was seen on the way."""

    box: Box
    ready_after_s: float
    idle_rss_mb: float
    """Resident memory before the first cycle."""
    rss_after_cycle_mb: float
    idle_packages: frozenset[str]
    """Packages whose libraries the idle daemon has loaded."""
    engine_before: int


@pytest.fixture(scope="module")
def story(store: Path) -> Iterator[Story]:
    """Start the daemon, ask for a retrain as any service does, wait for the promotion."""
    with server(store) as box:
        start_engine(box)
        engine_before = pid_of(box, ENGINE)
        ready_after_s = min(_start_and_time(box) for _ in range(3))
        time.sleep(3)
        pid = pid_of(box, CLM)
        idle_rss_mb = _resident_mb(box, pid)
        idle_packages = frozenset(re.findall(r"/site-packages/(\w+)/", box.read(f"/proc/{pid}/maps")))
        box.redis(*RETRAIN)
        box.wait_for(
            lambda: box.redis("EXISTS", "quantum:stream:learning.retraining.completed") == "1",
            "a completed retraining",
            PROMOTION_LIMIT_S,
        )
        box.wait_for(lambda: box.show(CLM, "StatusText").startswith("idle"), "the end of the cycle")
        yield Story(
            box=box,
            ready_after_s=ready_after_s,
            idle_rss_mb=idle_rss_mb,
            rss_after_cycle_mb=_resident_mb(box, pid),
            idle_packages=idle_packages,
            engine_before=engine_before,
        )


def _resident_mb(box: Box, pid: int) -> float:
    status = box.read(f"/proc/{pid}/status")
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, flags=re.MULTILINE)[0]) / 1024


def _start_and_time(box: Box) -> float:
    """Start the daemon and return the seconds from process start to READY; the best of some is not noise.

    Time for which it could have run and others had the processors is theirs, not the daemon's.
    """
    box.run("systemctl", "restart", CLM)
    ready, began = (
        int(box.show(CLM, name))
        for name in ("ActiveEnterTimestampMonotonic", "ExecMainStartTimestampMonotonic")
    )
    _, queued_ns, _ = map(int, box.read(f"/proc/{pid_of(box, CLM)}/schedstat").split())
    return (ready - began) / 1e6 - queued_ns / 1e9


def _payloads(box: Box, event_type: str) -> list[dict[str, object]]:
    """Return the payloads in the stream of this event."""
    answer = json.loads(box.redis("--json", "XRANGE", f"quantum:stream:{event_type}", "-", "+"))
    fields = [dict(zip(entry[1][::2], entry[1][1::2], strict=True)) for entry in answer]
    return [json.loads(entry["payload"]) for entry in fields]


def test_it_is_ready_within_two_seconds(story: Story) -> None:
    """READY comes after settings, lock and store, and a boot does not wait for it."""
    assert story.box.show(CLM, "Type") == "notify"
    assert story.ready_after_s < 2.0


def test_the_idle_daemon_is_small_and_without_torch(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs next to the engine for weeks; only child processes load the training libraries."""
    figures = f"{story.idle_rss_mb:.1f} MB before its first cycle, {story.rss_after_cycle_mb:.1f} MB after it"
    with capsys.disabled():
        sys.stdout.write(f"\nidle daemon under systemd: {figures}\n")
    assert story.idle_rss_mb <= BEFORE_FIRST_CYCLE_MB
    assert story.rss_after_cycle_mb <= BETWEEN_CYCLES_MB
    assert "sqlalchemy" in story.idle_packages, "what is loaded can be seen"
    assert not story.idle_packages & {"torch", "scipy", "sklearn"}


def test_a_request_leads_to_an_engine_on_the_new_model(story: Story) -> None:
    """Proven by effect: another process, started on the path that the environment file names."""
    box = story.box
    engine = pid_of(box, ENGINE)
    served = box.environment_of(engine)["PATCHTST_MODEL_PATH"]
    assert engine != story.engine_before
    assert served != FIRST_MODEL
    assert box.read(ENGINE_ENV_FILE) == f"{ENGINE_ENV}PATCHTST_MODEL_PATH={served}\nLAST=1\n"
    assert box.environment_of(engine)["PATCHTST_SHADOW_ONLY"] == "true"
    assert f"PatchTST loaded: {Path(served).name}" in box.journal(ENGINE)
    assert box.stat(served) == "root:root 444"
    assert box.stat(ENGINE_ENV_FILE) == "root:qt 640"


def test_the_streams_tell_of_it(story: Story) -> None:
    """Other services follow a retraining without reading our tables."""
    box = story.box
    (started,) = _payloads(box, "learning.retraining.started")
    (completed,) = _payloads(box, "learning.retraining.completed")
    (promoted,) = _payloads(box, "model.promoted")
    assert started["job_id"] == completed["job_id"]
    assert completed["status"] == "promoted"
    served = box.environment_of(pid_of(box, ENGINE))["PATCHTST_MODEL_PATH"]
    assert promoted["new_version"] == Path(served).stem
    assert promoted["old_version"] == Path(FIRST_MODEL).stem


def test_the_journal_tells_the_story_in_order(story: Story) -> None:
    """`journalctl -u quantum-clm` is where an operator looks first, and often last."""
    box = story.box
    box.wait_for(lambda: "cycle.completed" in event_names(box), "the end of the story")
    told = iter(event_names(box))
    expected = (
        "daemon.started",
        "trigger.accepted",
        "cycle.started",
        "training.epoch_completed",
        "promotion.advanced",
        "cycle.completed",
    )
    missing = [name for name in expected if name not in told]  # `in` on an iterator moves on: order counts
    assert not missing, f"{missing} not in their order in {event_names(box)}"


def test_a_second_instance_is_refused_by_name(story: Story) -> None:
    """Two daemons would train and promote against each other."""
    box = story.box
    settings = ("sh", "-c", f"cd / && exec {PYTHON} -m clm serve")
    done = box.as_user("qt", *settings, check=False)
    assert done.returncode == 75
    assert f"pid {pid_of(box, CLM)}" in done.stderr
    assert box.show(CLM, "ActiveState") == "active"


def test_a_restart_of_redis_leaves_the_daemon_running(story: Story) -> None:
    """Wants, not Requires: a training must not end because a neighbour was upgraded."""
    box = story.box
    before = box.show(CLM, "InvocationID")
    box.run("systemctl", "restart", "redis-server.service")
    assert box.show(CLM, "InvocationID") == before
    assert box.show(CLM, "ActiveState") == "active"


def test_systemctl_status_says_what_it_does(story: Story) -> None:
    """One line answers the first question of an operator."""
    box = story.box
    box.wait_for(lambda: box.show(CLM, "StatusText").startswith("idle"), "the idle daemon to say so")


def test_m2_root_steers_as_the_user_of_the_daemon_while_it_runs(story: Story) -> None:
    """Back to the model before, and live with it: root's right for one restart, and no file of root's."""
    box, first = story.box, Path(FIRST_MODEL).stem
    env_file = box.stat(ENGINE_ENV_FILE)
    box.run(CLM_PROGRAM, "rollback", "--reason", "a drill", timeout_s=120)
    assert box.environment_of(pid_of(box, ENGINE))["PATCHTST_MODEL_PATH"] == FIRST_MODEL
    box.run(CLM_PROGRAM, "activate", first, "--override", "a drill", timeout_s=120)
    live = box.environment_of(pid_of(box, ENGINE))
    assert (live["PATCHTST_MODEL_PATH"], live["PATCHTST_SHADOW_ONLY"]) == (FIRST_MODEL, "false")
    told = json.loads(box.out(CLM_PROGRAM, "history", "--json"))["champions"]
    assert [(row["version"], row["kind"]) for row in told[:2]] == [(first, "ACTIVATE"), (first, "ROLLBACK")]
    assert box.out("find", "/var/lib/quantum-clm", "/opt/quantum/data", "!", "-user", "qt") == ""
    assert box.stat(ENGINE_ENV_FILE) == env_file
    assert box.show(CLM, "ActiveState") == "active"


def test_h10_a_daemon_that_hangs_is_restarted(story: Story) -> None:
    """The main loop pings the watchdog, so systemd restarts a daemon that hangs."""
    box = story.box
    box.write(
        f"/run/systemd/system/{CLM}.d/quick.conf",
        "[Service]\nWatchdogSec=4\nRestartSec=1\nTimeoutStopSec=5\n",
    )
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", CLM)
    hung = pid_of(box, CLM)
    box.run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", CLM)
    box.wait_for(
        lambda: box.show(CLM, "ActiveState") == "active" and pid_of(box, CLM) not in {0, hung},
        "another process in place of the one that hangs",
        60,
    )
    assert box.show(CLM, "NRestarts") == "1"


def test_l7_i10_the_password_comes_as_a_credential_and_is_seen_nowhere(story: Story) -> None:
    """An account for us alone in Redis, and a file of root's that only the running service is shown."""
    box, password = story.box, "pw-3f1c0a9be277"
    box.redis("ACL", "SETUSER", "clm", "on", f">{password}", "resetkeys", *ACL.split())
    box.redis("ACL", "SETUSER", "default", "resetkeys", "~none:*")
    box.run("sh", "-c", f"echo CLM_REDIS_URL=redis://clm@localhost:6379/0 >>{SETTINGS}")

    box.run("systemctl", "restart", CLM)
    box.wait_for(lambda: "redis" in box.show(CLM, "StatusText"), "the daemon to say that Redis refuses it")
    assert "redis up" not in box.show(CLM, "StatusText")

    box.write("/etc/credstore/quantum-clm.redis-password", password + "\n", mode="0600")
    box.run("systemctl", "restart", CLM)
    box.wait_for(lambda: box.journal(CLM)[-20:] and _connected(box), "a connection with the password")
    seen = box.out("journalctl", "--no-pager") + box.out("systemctl", "show", CLM)
    seen += box.run("sh", "-c", f"tr '\\0' ' ' </proc/{pid_of(box, CLM)}/environ; ps axww -o args").stdout
    assert password not in seen


def _connected(box: Box) -> bool:
    """Return whether the bus connected since the daemon's last start."""
    names = event_names(box)
    last = len(names) - names[::-1].index("daemon.started") if "daemon.started" in names else 0
    return "bus.connected" in names[last:]


def test_stopping_in_the_middle_of_a_training_is_quick_and_leaves_no_child(store: Path) -> None:
    """E11: an operator who stops the service gets the machine back, and the task waits for the next start."""
    with server(store, ONE_LONG_TRAINING) as box:
        box.run("systemctl", "start", CLM)  # and with it, wanted, Redis
        box.wait_for(lambda: box.redis("PING") == "PONG", "Redis")
        box.redis(*RETRAIN)
        box.wait_for(lambda: "training.epoch_completed" in event_names(box), "an epoch", 120)
        children = _children(box)
        assert children, "a training runs as a process of its own"

        began = time.monotonic()
        box.run("systemctl", "stop", CLM)
        assert time.monotonic() - began < 25
        assert box.show(CLM, "Result") == "success"
        assert not _children(box)
        assert {"cycle.interrupted", "daemon.stopped"} <= set(event_names(box))

        box.run("systemctl", "start", CLM)
        box.wait_for(lambda: bool(_children(box)), "the task to be taken up again", 60)
        assert box.read(ENGINE_ENV_FILE) == ENGINE_ENV


def _children(box: Box) -> list[str]:
    """Return the pids of training processes, wherever they are in the tree."""
    return box.run("pgrep", "-f", "clm[.]training", check=False).stdout.split()


def test_settings_that_cannot_be_used_end_the_service_at_once(store: Path) -> None:
    """78 and no second start: nothing would be different, and the journal says what to change."""
    with server(store) as box:
        box.run("sh", "-c", f"echo CLM_EPOCS=3 >>{SETTINGS}")
        assert box.run("systemctl", "start", CLM, check=False).returncode != 0
        assert box.show(CLM, "ExecMainStatus") == "78"
        assert box.show(CLM, "ActiveState") == "failed"
        assert box.show(CLM, "NRestarts") == "0"
        assert any("CLM_TRAINING__EPOCHS" in line for line in box.journal(CLM))

        box.run("sed", "-i", "/CLM_EPOCS/d", SETTINGS)
        box.run("mv", STORE, f"{STORE}.away")
        assert box.run("systemctl", "start", CLM, check=False).returncode != 0
        assert box.show(CLM, "ExecMainStatus") == "78"
        assert any("STORE_MISSING" in line for line in box.journal(CLM))
        assert not box.exists(STORE)


def test_without_its_settings_file_the_unit_does_not_start(store: Path) -> None:
    """The daemon must not train and promote with unintended defaults; systemd names the file."""
    with server(store) as box:
        box.run("rm", SETTINGS)
        assert box.run("systemctl", "start", CLM, check=False).returncode != 0
        assert any(SETTINGS in line or "environment files" in line for line in box.journal(CLM))
