"""The freeze keys, against a real redis-server."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from clm.bus.brake import RedisBrake
from clm.bus.client import connect
from clm.bus.freeze_file import FreezeFile
from clm.bus.streams import FROZEN_KEY, MODE_KEY
from clm.domain.freeze import Freeze, FreezeState
from tests.bus.conftest import RedisServer, ToldClock

pytestmark = pytest.mark.needs_redis

FROZEN, THAWED = FreezeState.FROZEN, FreezeState.THAWED
UNKNOWN, UNHEARD = FreezeState.UNKNOWN, FreezeState.UNHEARD


@pytest.mark.parametrize(
    ("frozen", "mode", "held"),
    [
        (None, None, False),
        ("1", None, True),
        ("true", None, True),
        ("until monday", None, True),
        ("0", None, False),
        ("false", None, False),
        ("", None, False),
        (" no ", None, False),
        ("OFF", None, False),
        ("2", None, True),
        ("00", None, True),
        ("null", None, True),
        (None, "FREEZE", True),
        (None, "LOCKDOWN", True),
        (None, " lockdown\n", True),
        (None, "Freeze ", True),
        (None, "NORMAL", False),
        (None, "FREEZER", False),
        ("0", "FREEZE", True),
    ],
)
def test_the_brake_holds_when_either_key_says_so(client, plain, frozen, mode, held):
    """Every value of the freeze key other than off freezes learning."""
    for key, value in ((FROZEN_KEY, frozen), (MODE_KEY, mode)):
        if value is not None:
            plain.set(key, value)
    reason = RedisBrake(client).frozen_because()
    assert (reason is not None) == held
    assert reason is None or FROZEN_KEY in reason or MODE_KEY in reason


def test_l10_what_stands_in_the_key_stays_one_line(client, plain):
    """The reason is written to the journal and to STATUS."""
    plain.set(FROZEN_KEY, "1\nforged \x1b[2J" + "x" * 500)
    reason = RedisBrake(client).frozen_because()
    assert reason.isprintable()
    assert len(reason) < 150


@pytest.mark.parametrize(("value", "is_named"), [("until monday", True), ("1", False), ("yes", False)])
def test_i16_an_odd_value_freezes_and_the_reason_says_what_does_not(client, plain, value, is_named):
    """An operator who wrote a date must learn how to lift the freeze."""
    plain.set(FROZEN_KEY, value)
    reason = RedisBrake(client).frozen_because()
    assert f"{FROZEN_KEY} = {value}" in reason
    assert ("every value except 0, false, no and off freezes" in reason) is is_named


@pytest.mark.parametrize("key", [FROZEN_KEY, MODE_KEY])
@pytest.mark.parametrize(
    "command", ["RPUSH {} 1", "HSET {} a 1", "SADD {} 1", "ZADD {} 1 a", "XADD {} * a 1"]
)
def test_i16_a_freeze_key_of_another_type_counts_as_frozen(client, plain, key, command):
    """A key of the wrong type is a failed freeze, not a permission to learn."""
    plain.execute_command(*command.format(key).split())
    freeze = RedisBrake(client).freeze()
    assert freeze.state is FROZEN
    assert freeze.is_current
    assert key in freeze.reason


class Hostile:
    """A socket that replies to every request with the same bytes, or never."""

    def __init__(self, path: Path, reply: bytes) -> None:
        self._reply = reply
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(self._reply)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for one in (self._listener, *self._open):
            one.close()
        self._thread.join(5)


@pytest.fixture
def replaced_by(server: RedisServer) -> Iterator[Callable[[bytes], None]]:
    """Replace the server with another program."""
    made: list[Hostile] = []

    def replace(reply: bytes) -> None:
        server.kill()
        server.socket.unlink(missing_ok=True)
        made.append(Hostile(server.socket, reply))

    yield replace
    for one in made:
        one.close()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "freeze.json"


@pytest.fixture
def brake(server: RedisServer, make_client: Callable[..., redis.Redis], record: Path) -> RedisBrake:
    """A brake like the daemon's, with a shorter timeout."""
    return RedisBrake(make_client(server.url, socket_timeout_s=0.3), FreezeFile(record))


REPLIES = {
    "silence": b"",
    "MOVED": b"-MOVED 866 127.0.0.1:7001\r\n",
    "ASK": b"-ASK 866 127.0.0.1:7001\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down\r\n",
    "NOAUTH": b"-NOAUTH Authentication required.\r\n",
    "WRONGPASS": b"-WRONGPASS invalid username-password pair\r\n",
    "an unknown error": b"-ERR max number of clients reached\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "noise": b"\x00\xff\x17\r\n",
    "a length that is no number": b"$abc\r\n",
    "a count that is no number": b"*x\r\n",
    "a number": b":1\r\n",
    "a list": b"*1\r\n$1\r\n0\r\n",
    "an empty list": b"*0\r\n",
    "half a reply": b"$5\r\n0",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "thawed"])
def test_i16_what_is_no_valid_answer_leaves_the_last_known_freeze_in_force(
    brake, plain, replaced_by, reply, frozen
):
    """After silence, errors, redirects and garbage, frozen stays frozen and thawed becomes unknown."""
    if frozen:
        plain.set(FROZEN_KEY, "1")
    assert brake.freeze().state is (FROZEN if frozen else THAWED)
    replaced_by(reply)
    for _ in range(2):
        freeze = brake.freeze()
        assert freeze.state is (FROZEN if frozen else UNKNOWN)
        assert not freeze.is_current
        assert freeze.holds_promotion
        assert "no valid answer since" in freeze.reason
        assert (f"{FROZEN_KEY} = 1, last seen" in freeze.reason) is frozen


def test_i16_a_stopped_server_leaves_it_frozen_and_its_answer_ends_that(brake, plain, server):
    """Under SIGSTOP, connections open but no reply arrives; a late reply is ignored."""
    plain.set(FROZEN_KEY, "1")
    assert brake.freeze().state is FROZEN
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        assert [brake.freeze().state for _ in range(3)] == [FROZEN] * 3
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    plain.delete(FROZEN_KEY)
    assert brake.freeze() == Freeze(state=THAWED)


def test_i16_a_user_without_rights_on_the_keys_reads_nothing_and_thaws_nothing(
    plain, server, make_client, record
):
    """A real ACL denies one or both keys; a readable freeze still applies."""
    rights = ["-@all", "+get", "+ping"]
    plain.execute_command("ACL", "SETUSER", "clm", "on", ">pw", f"~{FROZEN_KEY}", f"~{MODE_KEY}", *rights)
    client = make_client(server.url.replace("unix://", "unix://clm@"), "pw")
    brake = RedisBrake(client, FreezeFile(record))
    assert brake.freeze().state is THAWED
    plain.execute_command("ACL", "SETUSER", "clm", "resetkeys", f"~{FROZEN_KEY}")
    freeze = brake.freeze()
    assert freeze.state is UNKNOWN
    assert "NOPERM" in freeze.reason or "permissions" in freeze.reason
    plain.set(FROZEN_KEY, "1")
    assert brake.freeze().state is FROZEN
    plain.execute_command("ACL", "SETUSER", "clm", "resetkeys")
    freeze = brake.freeze()
    assert freeze.state is FROZEN
    assert not freeze.is_current


def test_i16_a_cluster_that_redirects_answers_nothing(make_server, make_client, record):
    """A real redis-server in cluster mode serves other slots."""
    ports = ["--port", str(free_port()), "--cluster-port", str(free_port())]
    cluster = make_server("--cluster-enabled", "yes", *ports)
    freeze = RedisBrake(make_client(cluster.url), FreezeFile(record)).freeze()
    assert freeze.state is UNKNOWN
    assert "CLUSTERDOWN" in freeze.reason or "Hash slot" in freeze.reason


@pytest.mark.parametrize(("frozen", "expected"), [(True, FROZEN), (False, UNKNOWN)])
def test_i16_what_was_known_survives_a_restart(brake, plain, server, make_client, record, frozen, expected):
    """After a restart without Redis, the new process has the state of the old one."""
    if frozen:
        plain.set(FROZEN_KEY, "1")
    seen = brake.freeze()
    server.kill()
    again = RedisBrake(make_client(server.url), FreezeFile(record)).freeze()
    assert again.state is expected
    assert not again.is_current
    assert again.cause == (seen.cause or "the freeze keys cannot be read")


def test_i16_where_no_redis_ever_answered_nothing_is_held(tmp_path, make_client):
    """On a new machine without Redis, training and promotion are allowed."""
    brake = RedisBrake(make_client(f"unix://{tmp_path}/none.sock"), FreezeFile(tmp_path / "freeze.json"))
    for _ in range(2):
        freeze = brake.freeze()
        assert (freeze.state, freeze.holds_promotion, freeze.stops_because) == (UNHEARD, False, None)
    assert not (tmp_path / "freeze.json").exists()


def test_i16_a_first_refusal_is_a_redis_that_is_there(make_server, make_client, tmp_path):
    """A wrong password on the first start must not disable the freeze."""
    server = make_server("--requirepass", "right")
    record = FreezeFile(tmp_path / "freeze.json")
    freeze = RedisBrake(make_client(server.url, "wrong"), record).freeze()
    assert freeze.state is UNKNOWN
    server.kill()
    again = RedisBrake(make_client(server.url, "wrong"), FreezeFile(tmp_path / "freeze.json")).freeze()
    assert again.state is UNKNOWN


def test_i16_another_address_counts_only_once_it_answers(brake, plain, make_server, make_client, record):
    """After a change of CLM_REDIS_URL, the old server's freeze applies until the new one replies."""
    plain.set(FROZEN_KEY, "1")
    brake.freeze()
    other = make_server()
    other.kill()
    moved = RedisBrake(make_client(other.url), FreezeFile(record))
    freeze = moved.freeze()
    assert freeze.state is FROZEN
    assert brake._server() in freeze.reason, "the reason names the server that said so"
    other.start()
    assert moved.freeze().state is THAWED


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "halted"}', '{"state": "frozen"}', "\x00"])
def test_i16_a_record_that_cannot_be_read_is_unknown_and_heals(server, make_client, record, text):
    """The recorded state is lost: it is logged once, and the next reply replaces it."""
    record.write_text(text)
    brake = RedisBrake(make_client(server.url), FreezeFile(record))
    server.kill()
    with capture_logs() as lines:
        assert [brake.freeze().state for _ in range(2)] == [UNKNOWN, UNKNOWN]
    assert [line["event"] for line in lines] == ["freeze.record_unreadable"]
    server.start()
    assert brake.freeze().state is THAWED
    server.kill()
    assert RedisBrake(make_client(server.url), FreezeFile(record)).freeze().state is UNKNOWN


def test_i16_a_full_disk_forgets_nothing_while_the_process_lives(brake, plain, server, record, monkeypatch):
    """A record that cannot be written is logged once, kept in memory and written later."""
    brake.freeze()
    plain.set(FROZEN_KEY, "1")
    monkeypatch.setattr("clm.bus.freeze_file.replace_durably", no_space)
    with capture_logs() as lines:
        assert [brake.freeze().state for _ in range(2)] == [FROZEN, FROZEN]
    assert [line["event"] for line in lines] == ["freeze.not_recorded"]
    monkeypatch.undo()
    server.kill()
    assert brake.freeze().state is FROZEN
    assert '"frozen"' in record.read_text()


def no_space(*_arguments: object, **_options: object) -> None:
    raise OSError(28, "No space left on device")


def test_i16_a_killed_writer_leaves_nothing_behind(server, make_client, record):
    """The next writer removes only its temporary file."""
    left, other = record.with_name(".freeze.json.clm-1-0.tmp"), record.with_name(".store.db.clm-1-0.tmp")
    left.write_text("{")
    other.write_text("")
    RedisBrake(make_client(server.url), FreezeFile(record)).freeze()
    assert (left.exists(), other.exists(), record.exists()) == (False, True, True)


def test_i16_an_older_answer_never_replaces_a_newer_one_of_another_process(
    plain, server, make_client, record
):
    """A slow process read `thawed`; before it wrote that, another process recorded `frozen`."""
    mine, theirs = (RedisBrake(make_client(server.url), FreezeFile(record)) for _ in range(2))
    ask = mine._ask

    def slow():
        answer = ask()
        if not plain.exists(FROZEN_KEY):
            plain.set(FROZEN_KEY, "1")
            assert theirs.freeze().state is FROZEN
        return answer

    mine._ask = slow
    assert mine.freeze().state is FROZEN
    assert FreezeFile(record).read().state is FROZEN


def test_i16_an_answering_redis_costs_a_write_in_ten_minutes(server, make_client, record):
    """The keys are read every few seconds; the state directory is written less often."""
    clock = ToldClock()
    brake = RedisBrake(make_client(server.url), FreezeFile(record), clock=clock)
    written = set()
    for _ in range(240):
        brake.freeze()
        written.add(record.read_text())
        clock.sleep(10)
    assert 3 <= len(written) <= 5
    server.kill()
    assert f"last seen {clock.now():%Y-%m-%d} 14:41 UTC" in brake.freeze().reason, "memory has the exact time"


STEPS = st.lists(st.sampled_from(["frozen", "thawed", "away", "refused", "restart"]), max_size=14)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_i16_every_sequence_of_answers_errors_and_restarts_follows_the_rule(
    server, plain, tmp_path_factory, steps
):
    """Compared with a plain model of the rule: the last reply decides and is never lost."""
    record, aside = tmp_path_factory.mktemp("state") / "freeze.json", server.directory / "aside.sock"
    rights = ["on", "nopass", "-@all", "+get", "+ping", "+client"]
    open_to, known = [f"~{FROZEN_KEY}", f"~{MODE_KEY}"], None
    client = connect(server.url.replace("unix://", "unix://clm@"), "x")
    brake = RedisBrake(client, FreezeFile(record))
    try:
        for step in steps:
            if step == "restart":
                brake = RedisBrake(client, FreezeFile(record))
                continue
            keys = [] if step == "refused" else open_to
            plain.execute_command("ACL", "SETUSER", "clm", "reset", *rights, *keys)
            plain.set(FROZEN_KEY, "1" if step == "frozen" else "0")
            if step == "away":
                client.connection_pool.disconnect()
                server.socket.rename(aside)
            seen = brake.freeze()
            if step == "away":
                aside.rename(server.socket)
            known = {"frozen": "frozen", "thawed": "thawed", "refused": known or "refused", "away": known}[
                step
            ]
            expected = {"frozen": FROZEN, "thawed": UNKNOWN, "refused": UNKNOWN, None: UNHEARD}[known]
            assert seen.state is (THAWED if step == "thawed" else expected)
            assert seen.is_current is (step in {"frozen", "thawed"})
    finally:
        client.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
