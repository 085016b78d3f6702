"""The connection: its guarantees, its error codes and the secrets that it never prints."""

import signal
import time
import traceback

import pytest

from clm.bus.client import address, connect, redacted, talking_to
from clm.errors import BusUnavailable, ConfigError

SECRET = "s3cr:t/p@ss"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://clm:geheim@localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:s3cr:t/p@ss@localhost:6379", "redis://localhost:6379"),
        ("unix:///run/redis.sock?db=1&password=geheim", "unix:///run/redis.sock"),
        ("unix://clm:geheim@/run/redis.sock", "unix:///run/redis.sock"),
        ("geheim", "the given text"),
    ],
)
def test_l7_an_address_is_shown_without_user_password_and_options(url, shown):
    """More people can read the log than the password file."""
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@localhost:6379",
        "http://localhost",
        "unix://",
        "redis://localhost:65x36/0",
        "unix:///run/r.sock?socket_timeout=0",
    ],
)
def test_an_unusable_address_is_a_config_error_that_quotes_no_secret(url):
    """For a password with a slash, urllib's error about the port quotes part of the password."""
    with pytest.raises(ConfigError) as caught:
        connect(url)
    assert caught.value.code == "REDIS_URL"
    text = "".join(traceback.format_exception(caught.value))
    assert "s3cr" not in text
    assert "p@ss" not in text


def test_c9_the_client_never_repeats_a_command_by_itself():
    """A retried XADD would add a second event."""
    options = connect("redis://localhost:6379").connection_pool.connection_kwargs
    assert options["retry"].get_retries() == 0
    assert options["socket_timeout"] == 10
    assert options["socket_connect_timeout"] == 3
    assert options["health_check_interval"] == 30
    assert options["protocol"] == 2


def test_nobody_listening_is_redis_down(tmp_path):
    """Connection refused must not end the daemon."""
    client = connect(f"unix://{tmp_path}/none.sock")
    with pytest.raises(BusUnavailable) as caught, talking_to(client):
        client.ping()
    assert caught.value.code == "REDIS_DOWN"
    assert caught.value.transient
    assert "none.sock" in caught.value.message
    assert address(client) in caught.value.message


@pytest.mark.needs_redis
def test_i10_a_wrong_password_is_named_as_such_and_not_printed(make_server, make_client):
    """The message points to the password file, not to the network."""
    server = make_server("--requirepass", "right")
    for password in ("wr0ng-secret", None):
        client = make_client(server.url, password)
        with pytest.raises(BusUnavailable) as caught, talking_to(client):
            client.ping()
        assert caught.value.code == "REDIS_AUTH"
        assert "wr0ng-secret" not in str(caught.value)
    assert make_client(server.url, "right").ping()


@pytest.mark.needs_redis
def test_i10_an_acl_that_is_too_small_names_the_command(plain, server, make_client):
    """NOPERM names the missing permission."""
    plain.execute_command(
        "ACL", "SETUSER", "clm", "on", ">pw", "resetkeys", "~quantum:stream:*", "-@all", "+ping"
    )
    client = make_client(server.url.replace("unix://", "unix://clm@"), "pw")
    assert client.ping()
    with pytest.raises(BusUnavailable) as caught, talking_to(client):
        client.xlen("quantum:stream:model.retrain")
    assert caught.value.code == "REDIS_AUTH"
    assert "xlen" in caught.value.message


@pytest.mark.needs_redis
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "REDIS_MISCONF"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "REDIS_OOM"),
        ("LOADING Redis is loading the dataset in memory", "REDIS_LOADING"),
        ("BUSY Redis is busy running a script.", "REDIS_BUSY"),
        ("READONLY You can't write against a read only replica.", "REDIS_READONLY"),
        ("MASTERDOWN Link with MASTER is down", "REDIS_MASTERDOWN"),
        ("WRONGTYPE Operation against a key", "REDIS_WRONGTYPE"),
        ("ERR something else", "REDIS_ERROR"),
    ],
)
def test_i7_every_refusal_of_a_server_has_a_code_of_its_own(client, reply, code):
    """The replies arrive over a real connection, so the library parses them."""
    with pytest.raises(BusUnavailable) as caught, talking_to(client):
        client.eval("return redis.error_reply(ARGV[1])", 0, reply)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


@pytest.mark.needs_redis
def test_i7_a_replica_without_its_primary_is_no_crash(plain, client):
    """The server replies READONLY or MASTERDOWN."""
    plain.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(BusUnavailable) as caught, talking_to(client):
        client.xadd("s", {"a": "b"})
    assert caught.value.code in {"REDIS_READONLY", "REDIS_MASTERDOWN"}


@pytest.mark.needs_redis
def test_i8_a_server_that_does_not_answer_is_left_after_the_timeout(server, make_client):
    """A stopped process keeps its socket open without replying, like a network that drops packets."""
    client = make_client(server.url, socket_timeout_s=0.2)
    client.ping()
    server.process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(BusUnavailable) as caught, talking_to(client):
            client.ping()
        assert caught.value.code == "REDIS_TIMEOUT"
        assert time.monotonic() - started < 2
    finally:
        server.process.send_signal(signal.SIGCONT)
