"""The verbs that look at the data, as a person and as a program call them."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from clm.store.create import create_store, insert_samples
from tests.data.planted import PLANTED, clean

ROOT = Path(__file__).parents[2]


def clm(root: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a server of its own."""
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "CLM_ROOT": str(root),
        "CLM_REDIS_URL": "unix:///nowhere/redis.sock",
        "CLM_MIN_SAMPLES": "300",
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-m", "clm", *arguments],
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "opt/quantum/data/quantum_trader.db"
    path.parent.mkdir(parents=True)
    create_store(path)
    return path


def test_preflight_exits_0_with_warnings_and_tells_them(tmp_path, store):
    """A warning stops nothing; the clean store of the past is stale by now, and that is said."""
    insert_samples(store, clean())
    told = clm(tmp_path, "preflight", CLM_DATA__FLOOR="off")

    assert told.returncode == 0, told.stderr
    assert b"WARN   stale_store: the newest sample is of 20" in told.stdout
    assert b"a cycle would train" in told.stdout


def test_preflight_exits_65_when_a_cycle_would_be_refused(tmp_path, store):
    """A script can ask before it starts a training."""
    insert_samples(store, PLANTED["windows of one repeated row"].plant())
    told = clm(tmp_path, "preflight", "--json", "--store", str(store))

    assert told.returncode == 65
    document = orjson.loads(told.stdout)
    assert document["blocked"] is True
    assert document["findings"][0]["name"] == "constant_windows"
    assert set(document["findings"][0]) >= {
        "name",
        "severity",
        "statistic",
        "threshold",
        "rows",
        "message",
        "next_step",
    }


def test_preflight_on_an_empty_store_says_what_is_missing(tmp_path, store):
    """No row is no reason to crash."""
    told = clm(tmp_path, "preflight")

    assert told.returncode == 65
    assert b"0 samples with a known outcome, need 300" in told.stdout


def test_a1_preflight_on_a_store_of_0_bytes_is_one_line(tmp_path):
    """The path was mistyped."""
    (tmp_path / "quantum.db").touch()
    told = clm(tmp_path, "preflight", "--json", "--store", str(tmp_path / "quantum.db"))

    assert told.returncode == 65
    assert orjson.loads(told.stdout)["error"]["code"] == "STORE_EMPTY"
    assert told.stderr.count(b"\n") == 1


def test_discover_tells_people_and_programs(tmp_path, store):
    """The same facts in lines and in JSON."""
    insert_samples(store, clean())
    (tmp_path / "home/qt").mkdir(parents=True)
    (tmp_path / "home/qt/quantum.db").touch()

    lines = clm(tmp_path, "discover")
    document = orjson.loads(clm(tmp_path, "discover", "--json").stdout)

    assert lines.returncode == 0, lines.stderr
    assert b"empty database" in lines.stdout
    (asset,) = document["assets"]
    assert (asset["kind"], asset["usable"]) == ("empty database", False)
    assert document["store"]["tables"]["settings"] is None
