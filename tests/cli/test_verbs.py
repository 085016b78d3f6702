"""The command line as people and machines meet it: real processes, real stores."""

import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clm.data.simulator import simulate
from clm.store.create import create_store, insert_samples
from tests.builders import NOW


def clm(
    root: Path, *arguments: str, timeout_s: float = 250, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line below a root of its own, with no Redis in reach."""
    return subprocess.run(
        [sys.executable, "-m", "clm", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "CLM_ROOT": str(root),
            "CLM_REDIS_URL": f"unix://{root}/no-redis.sock",
            "CLM_TRAINING__EPOCHS": "2",
            "CLM_TUNING__TRIALS": "0",
            "CLM_EVALUATION__REPLICATES": "200",
            **environment,
        },
    )


def wrong_store(directory: Path, kind: str) -> Path:
    """Write a file that is not a store."""
    path = directory / f"{kind}.db"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("id,symbol,timestamp\n" * 100)
    elif kind == "column-lacking":
        create_store(path)
        with sqlite3.connect(path) as connection:
            connection.execute("ALTER TABLE ai_training_samples DROP COLUMN target_class")
        connection.close()
    return path


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("missing", "STORE_MISSING", "does not exist"),
        ("empty", "STORE_EMPTY", "is 0 bytes, not a SQLite database"),
        ("text", "STORE_CORRUPT", "not a SQLite database"),
        ("column-lacking", "SCHEMA", "lacks target_class"),
    ],
)
def test_a1_a2_a3_a_store_that_is_none_gets_one_line_and_nothing_is_made(tmp_path, kind, code, words):
    """The operators once trained for weeks on a mistyped path."""
    store = wrong_store(tmp_path, kind)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.db")}
    for verb, exit_code in (("run", 65), ("serve", 78), ("status", 65), ("runs", 65), ("trigger", 65)):
        done = clm(tmp_path / "root", verb, "--store", str(store))
        assert done.returncode == exit_code, (verb, done.stderr)
        (line,) = done.stderr.splitlines()
        assert code in line, verb
        assert words in line, verb
        assert str(store) in line, verb
    assert {path: path.read_bytes() for path in tmp_path.glob("*.db")} == before
    made = [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert set(made) <= {"lock"}


def test_an_error_is_json_too_when_json_was_asked_for(tmp_path):
    """A machine that reads stdout must not have to parse stderr."""
    done = clm(tmp_path, "run", "--json", "--store", "/nowhere.db")
    assert json.loads(done.stdout)["error"]["code"] == "STORE_MISSING"


def test_an_unknown_verb_is_a_usage_error(tmp_path):
    """sysexits.h says 64, click says 2; scripts rely on the former."""
    assert clm(tmp_path, "trian").returncode == 64


def test_check_config_says_every_problem_in_one_line(tmp_path):
    """The installer asks it before anything is started."""
    done = clm(tmp_path, "check-config", CLM_EPOCH="3", CLM_TRAINING__DROPOUT="2")
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 1
    assert "CLM_TRAINING__EPOCHS" in done.stderr
    assert "CLM_TRAINING__DROPOUT=2" in done.stderr


def test_check_config_refuses_what_the_engine_cannot_load(tmp_path):
    """The unit asks it before it starts, so the daemon never trains such a model."""
    refused = clm(tmp_path, "check-config", CLM_ARCHITECTURE="patchtst-mix")
    assert refused.returncode == 78
    (line,) = refused.stderr.splitlines()
    assert "set CLM_ARCHITECTURE=engine, or CLM_ENGINE__LOADS=serving" in line
    told = {"CLM_ARCHITECTURE": "patchtst-mix", "CLM_ENGINE__LOADS": "serving"}
    assert clm(tmp_path, "check-config", **told).returncode == 0


def test_the_command_line_reads_the_daemons_settings(tmp_path):
    """`clm status` must speak of the store that the daemon uses."""
    config = tmp_path / "etc/quantum/clm.env"
    config.parent.mkdir(parents=True)
    config.write_text('# ours\nCLM_SEED="41"\nCLM_TARGET=direction\n')
    answer = json.loads(clm(tmp_path, "check-config", "--json").stdout)
    assert (answer["seed"], answer["target"]) == (41, "direction")


def test_store_init_makes_an_empty_store_and_never_replaces_one(tmp_path):
    """An existing file is somebody's data."""
    path = tmp_path / "new.db"
    assert clm(tmp_path, "store", "init", "--store", str(path)).returncode == 0
    before = path.read_bytes()
    again = clm(tmp_path, "store", "init", "--store", str(path))
    assert again.returncode == 65
    assert "STORE_EXISTS" in again.stderr
    assert path.read_bytes() == before
    assert json.loads(clm(tmp_path, "runs", "--json", "--store", str(path)).stdout) == {"runs": []}


def new_store(directory: Path) -> Path:
    """Make a store with a small, learnable market."""
    path = directory / "store.db"
    create_store(path)
    insert_samples(path, (s.as_row() for s in simulate(seed=3, n_samples=2500, until=NOW, n_symbols=2)))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a small, learnable market."""
    return new_store(tmp_path)


@dataclass(frozen=True)
class Cycle:
    """A cycle that was run from the command line."""

    root: Path
    store: Path
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """One cycle for all who look at what it left behind."""
    root = tmp_path_factory.mktemp("cycle")
    store = new_store(root)
    done = clm(root, "run", "--json", "--store", str(store))
    assert done.returncode == 0, done.stderr
    return Cycle(root=root, store=store, answer=json.loads(done.stdout))


@pytest.mark.slow
def test_one_cycle_from_the_command_line_tells_machines_everything(cycle):
    """decision, gates, metrics, version and seconds are what others build upon."""
    root, store, answer = cycle.root, cycle.store, cycle.answer
    assert answer["decision"] in {"PROMOTE", "KEEP", "REJECT", "REFUSED"}
    assert {"name", "status", "observed", "threshold", "reason"} <= answer["gates"][0].keys()
    assert {"candidate", "champion", "baselines"} <= answer["metrics"].keys()
    assert {"base_rate", "logistic"} <= answer["metrics"]["baselines"].keys()
    assert {"read", "train", "judge", "total"} <= answer["seconds"].keys()
    assert answer["version"].startswith("patchtst_v")
    runs = json.loads(clm(root, "runs", "--json", "--store", str(store)).stdout)["runs"]
    assert [run["run_id"] for run in runs] == [answer["run_id"]]
    shown = json.loads(clm(root, "show", answer["run_id"], "--json", "--store", str(store)).stdout)
    assert shown["decision"] == answer["decision"]
    again = clm(root, "verify-run", answer["run_id"], "--json", "--store", str(store))
    assert again.returncode == 0, again.stdout
    assert json.loads(again.stdout)["agrees"] is True
    status = json.loads(clm(root, "status", "--json", "--store", str(store)).stdout)
    assert status["events_waiting"] == 2
    assert status["daemon"] == "not running"
    with sqlite3.connect(store) as connection:
        mirrored = connection.execute("SELECT status, sample_count FROM model_training_runs").fetchall()
    connection.close()
    assert mirrored == [("completed", shown["data"]["windows"])]


@pytest.mark.slow
def test_the_same_store_and_seed_give_the_same_fingerprint_and_weights(cycle, tmp_path):
    """Who cannot make a model again cannot say why it is as it is."""
    store = shutil.copy(cycle.store, tmp_path / "store.db")
    again = json.loads(clm(tmp_path, "run", "--json", "--store", str(store)).stdout)
    assert again["data_fingerprint"] == cycle.answer["data_fingerprint"]
    assert again["weights_hash"] == cycle.answer["weights_hash"]
    assert again["run_id"] != cycle.answer["run_id"]


def test_a_trigger_waits_once_in_the_queue(tmp_path, store):
    """Two people who ask are asking for the same thing."""
    first = json.loads(clm(tmp_path, "trigger", "--json", "--store", str(store)).stdout)
    second = json.loads(clm(tmp_path, "trigger", "--json", "--store", str(store)).stdout)
    assert first == second
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT count(*) FROM training_tasks").fetchone() == (1,)
    connection.close()


def test_doctor_names_what_is_missing_and_fails(tmp_path, store):
    """A promotion that cannot succeed should be known before the training."""
    done = clm(tmp_path, "doctor", "--json", "--store", str(store))
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    failed = {check["name"] for check in answer["checks"] if check["status"] == "FAIL"}
    assert "env file" in failed
    assert {"store", "redis"}.isdisjoint(failed)


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("status", "--stroe", "/x"), ("runs", "--limit", "0")]
)
def test_a_usage_error_is_json_too(tmp_path, arguments):
    """A script that mistypes must be able to read why."""
    done = clm(tmp_path, *arguments, "--json")
    assert done.returncode == 64
    assert json.loads(done.stdout)["error"]["code"] == "USAGE"


def test_l7_the_password_in_an_address_is_never_shown(tmp_path):
    """Settings are pasted into tickets."""
    shown = clm(tmp_path, "check-config", CLM_REDIS_URL="redis://u:topsecret@localhost:6379/0")
    refused = clm(tmp_path, "check-config", CLM_REDIS_URL="rediz://u:topsecret@localhost")
    assert (shown.returncode, refused.returncode) == (0, 78)
    for done in (shown, refused):
        assert "topsecret" not in done.stdout + done.stderr


def test_f15_only_a_model_that_passed_can_be_promoted_by_hand(tmp_path, store):
    """The manual mode leaves the switch to a person, not the judgement."""
    done = clm(tmp_path, "promote", "patchtst_v20260101_000000", "--store", str(store))
    assert done.returncode == 74
    assert "ARTEFACT_MISSING" in done.stderr
