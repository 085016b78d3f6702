"""The freeze keys, against a real redis-server."""

import pytest
from structlog.testing import capture_logs

from clm.bus.brake import RedisBrake
from clm.bus.streams import FROZEN_KEY, MODE_KEY

pytestmark = pytest.mark.needs_redis


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
        (None, "FREEZE", True),
        (None, "LOCKDOWN", True),
        (None, " lockdown\n", True),
        (None, "NORMAL", False),
        ("0", "FREEZE", True),
    ],
)
def test_the_brake_holds_when_either_key_says_so(client, plain, frozen, mode, held):
    """Whoever writes anything but `off` into the freeze key means it."""
    for key, value in ((FROZEN_KEY, frozen), (MODE_KEY, mode)):
        if value is not None:
            plain.set(key, value)
    reason = RedisBrake(client).frozen_because()
    assert (reason is not None) == held
    assert reason is None or FROZEN_KEY in reason or MODE_KEY in reason


def test_a_redis_that_is_away_is_no_brake_but_is_said_once(client, plain, server):
    """Training goes on without Redis; the log says once that the keys are not known."""
    brake = RedisBrake(client)
    server.kill()
    with capture_logs() as lines:
        assert brake.frozen_because() is None
        assert brake.frozen_because() is None
    assert [line["event"] for line in lines] == ["brake.unknown"]
    assert "cannot be reached" in brake.unknown_because
    server.start()
    assert brake.frozen_because() is None
    assert brake.unknown_because is None


def test_a_key_of_another_type_is_unknown_and_no_crash(client, plain):
    """Somebody made it a list."""
    plain.rpush(FROZEN_KEY, "1")
    brake = RedisBrake(client)
    assert brake.frozen_because() is None
    assert "WRONGTYPE" in brake.unknown_because


def test_l10_what_stands_in_the_key_stays_one_line(client, plain):
    """The reason goes to the journal and to STATUS."""
    plain.set(FROZEN_KEY, "1\nforged \x1b[2J" + "x" * 500)
    reason = RedisBrake(client).frozen_because()
    assert reason.isprintable()
    assert len(reason) < 150
