"""Discovery: assets on the server are listed with their use; nothing is changed, no secret is shown."""

import gzip
import os
import pickle
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from clm.cli.inventory import inventory_lines
from clm.report.plain import plain_record
from clm.settings import Settings
from clm.store.create import create_store, insert_samples
from clm.verbs.discovery import Discovery, discover
from clm.verbs.discovery.samples import masked
from clm.verbs.doctor import examine
from tests.bus.conftest import RedisServer
from tests.conftest import SHARED_DATA
from tests.data.planted import clean

SECRET = "sk-live-4f9a"
CANDLES = "timestamp,open,high,low,close,volume\n" + "\n".join(
    f"2025-12-01 {hour:02}:00:00+00:00,10,12,9,11,5" for hour in range(20) if hour != 7
)


class Evil:
    """A pickle that would leave a trace if anybody loaded it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A server in a directory."""
    root = tmp_path_factory.mktemp("server")
    data = root / "opt/quantum/data"
    data.mkdir(parents=True)
    store = data / "quantum_trader.db"
    create_store(store)
    insert_samples(store, clean())
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("INSERT INTO settings VALUES (1, ?, ?)", (SECRET, SECRET))
    with closing(sqlite3.connect(data / "trades.db")) as connection, connection:
        connection.execute('CREATE TABLE "odd "" name" (x)')
        connection.execute("CREATE TABLE settings (api_key)")
        connection.execute("INSERT INTO settings VALUES (?)", (SECRET,))
    (data / "damaged.db").write_bytes(b"SQLite format 3\0" + bytes(2000))

    (root / "home/qt").mkdir(parents=True)
    (root / "home/qt/quantum.db").touch()
    (root / "home/qt/diary.jsonl").write_text('{"private": 1}\n')

    rl = data / "rl_v3"
    rl.mkdir()
    with zipfile.ZipFile(rl / "ppo.pt", "w") as archive:
        archive.writestr("ppo/data.pkl", pickle.dumps(Evil(root / "pwned")))
    (rl / "old.pt").write_bytes(pickle.dumps(Evil(root / "pwned")))
    models = root / "opt/quantum/ai_engine/models"
    models.mkdir(parents=True)
    shutil.copy(rl / "ppo.pt", models / "patchtst_v20260101_000000.pth")

    (root / "var/lib/redis").mkdir(parents=True)
    (root / "var/lib/redis/dump.rdb").write_bytes(b"REDIS0009\xfa\x09redis-ver")

    candles = data / "market_data/latest"
    candles.mkdir(parents=True)
    (candles / "BTCUSDT_1h.csv").write_text(CANDLES)
    (candles / "torn.csv.gz").write_bytes(gzip.compress(CANDLES.encode())[:40])
    (data / "fees.csv").write_text("tier,maker,taker\n1,2,4\n")
    logs = data / "policy_observations"
    logs.mkdir()
    (logs / "signals.jsonl").write_bytes(
        orjson.dumps({"timestamp": "2025-11-22T13:32:18+00:00", "signal": {}, "policy_verdict": "ALLOW"})
        + b"\nnot json\n"
    )
    os.mkfifo(data / "pipe.db")
    (data / "away.db").symlink_to("/nowhere")
    (data / "bell\x07\n.db").touch()
    (data / os.fsdecode(b"latin\xe9.db")).touch()

    etc = root / "etc/quantum"
    etc.mkdir(parents=True)
    (etc / "ai-engine.env").write_text(
        f"PATCHTST_MODEL_PATH={models}/patchtst_v20260101_000000.pth\nPATCHTST_SHADOW_ONLY=true\n"
        f"MODEL_API_KEY={SECRET}\nAPI_SECRET={SECRET}\n"
    )
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "quantum-ai-engine.service").write_text(
        f"[Service]\nEnvironment=MODEL_PATH=/data/quantum/models API_SECRET={SECRET}\n"
        "ExecStart=/usr/bin/engine\n"
    )
    (units / "cron.service").write_text("[Service]\nExecStart=/usr/sbin/cron\n")
    return root


@pytest.fixture(scope="module")
def found(root) -> Discovery:
    return discover(Settings(root=root, redis_url="unix:///nowhere/redis.sock"))


def asset(found: Discovery, name: str):
    (one,) = [asset for asset in found.assets if Path(asset.path).name == name]
    return one


@pytest.mark.parametrize(
    ("name", "kind", "usable", "words"),
    [
        ("quantum.db", "empty database", False, "mistyped path"),
        ("trades.db", "database", False, "no ai_training_samples"),
        ("damaged.db", "database", False, ""),
        ("ppo.pt", "reinforcement-learning model", False, "another kind"),
        ("old.pt", "reinforcement-learning model", False, "another kind"),
        ("patchtst_v20260101_000000.pth", "PatchTST model", False, "not data"),
        ("dump.rdb", "Redis dump", False, "no history"),
        ("BTCUSDT_1h.csv", "candles", True, "windows can be built from it"),
        ("fees.csv", "table", False, "lacks the columns timestamp, open"),
        ("signals.jsonl", "signal log", False, "no features"),
    ],
)
def test_each_thing_is_named_with_its_use(found, name, kind, usable, words):
    """Of what use is it: yes or no, because."""
    one = asset(found, name)

    assert (one.kind, one.usable) == (kind, usable)
    assert words in one.because
    assert one.because


def test_candles_are_told_with_range_and_gaps(found):
    """A gap is a window that cannot be made."""
    (series,) = asset(found, "BTCUSDT_1h.csv").details["symbols"]

    assert (series["symbol"], series["interval_h"], series["candles"]) == ("BTCUSDT", 1.0, 19)
    assert (series["gaps"], series["missing"]) == (1, 1)
    assert series["first"].startswith("2025-12-01T00:00")


def test_the_store_is_told_without_its_values(found):
    """Distributions, ranges, completeness, and one row in its shape alone."""
    samples = found.store["samples"]

    assert samples["usable"] is True
    assert sum(samples["symbols"].values()) == len(clean())
    assert set(samples["classes"]) == {"WIN", "LOSS", "NEUTRAL", "None"}
    assert samples["features"]["forms"] == {"array of 8": 1000}
    assert set(samples["features"]["completeness"].values()) == {1.0}
    assert samples["first"] < samples["last"]
    assert samples["masked_row"]["symbol"].endswith("USDT")
    figures = samples["masked_row"]["features"] + samples["masked_row"]["entry_price"]
    assert set(figures) <= set("9.,-e [] ")


def test_l8_no_secret_is_read_or_told(found):
    """Neither the store's keys, nor another database's, nor what stands in env files and units."""
    text = orjson.dumps(plain_record(found)).decode()

    assert SECRET not in text
    assert found.store["tables"]["settings"] is None
    assert asset(found, "trades.db").details["tables"]["settings"] == "not read: it holds secrets"
    assert "diary" not in text
    (env,) = found.env_files
    assert env["variables"]["PATCHTST_SHADOW_ONLY"] == "true"
    assert env["variables"]["PATCHTST_MODEL_PATH"].endswith("patchtst_v20260101_000000.pth")
    assert env["variables"]["MODEL_API_KEY"] == "…"


def test_units_that_name_a_model_are_found(found):
    """With the paths in those lines."""
    (unit,) = found.units

    assert unit["unit"] == "quantum-ai-engine.service"
    assert "/data/quantum/models" in unit["paths"]


def test_l2_no_pickle_is_ever_loaded(found, root):
    """Its first bytes identify it."""
    assert asset(found, "ppo.pt")
    assert not (root / "pwned").exists()


def test_what_cannot_be_read_is_said_and_hides_nothing_else(found):
    """Torn, dangling, a pipe that would wait for ever, names that are no text."""
    assert any("torn.csv.gz" in what for what in found.unreadable) or not asset(found, "torn.csv.gz").usable
    assert found.passed_over["links"] == 1
    assert found.passed_over["devices, pipes and sockets"] == 1
    assert {"bell??.db", "latin?.db"} <= {Path(one.path).name for one in found.assets}
    assert found.redis["answers"] is False
    assert found.redis["because"]


@pytest.mark.needs_root
def test_what_we_may_not_read_is_said():
    """The operator sees which owner or mode to change."""
    # Not below pytest's own directories, which are closed to others.
    root = Path(tempfile.mkdtemp(prefix="clm-discovery-"))
    root.chmod(0o755)
    data = root / "opt/quantum/data"
    closed = data / "closed"
    closed.mkdir(parents=True)
    (data / "secret.jsonl").write_text("{}\n")
    (data / "secret.jsonl").chmod(0o600)
    closed.chmod(0o700)
    os.seteuid(65534)
    try:
        found = discover(Settings(root=root, redis_url="unix:///nowhere/redis.sock"))
    finally:
        os.seteuid(0)
        shutil.rmtree(root)

    assert [what.rpartition("/")[2] for what in found.unreadable] == [
        "closed: Permission denied",
        "secret.jsonl: Permission denied",
    ]
    assert "does not exist" in found.store["unreadable"]


def test_free_space_is_told_once_a_file_system(found):
    """Space and inodes, for what a run writes."""
    (system,) = found.file_systems

    assert len(system["for"]) == 5
    assert 0 < system["free_share"] < 1
    assert system["free_bytes"] > 0
    assert "free_inodes" in system


def test_nothing_is_changed(root):
    """An inventory leaves no trace."""

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in root.rglob("*")
            if not path.name.startswith(".")
        }

    before = state()
    discover(Settings(root=root, redis_url="unix:///nowhere/redis.sock"))

    assert state() == before


def test_the_inventory_reads_line_by_line(found):
    """No line is torn by what strangers named their files."""
    lines = list(inventory_lines(plain_record(found)))

    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("usable  candles:") for line in lines)
    assert any("settings (secrets, not read)" in line for line in lines)
    assert any(line.startswith("redis") and "does not answer" in line for line in lines)


def test_a_store_without_a_column_is_said(tmp_path):
    """Which column, before anything is started."""
    store = tmp_path / "s.db"
    create_store(store)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("ALTER TABLE ai_training_samples RENAME COLUMN target_class TO outcome_class")
    samples = discover(Settings(root=tmp_path, store=store)).store["samples"]

    assert samples["usable"] is False
    assert samples["columns_missing"] == ["target_class"]
    assert samples["columns_unknown"] == ["outcome_class"]


def test_an_empty_store_is_not_usable_and_says_what_to_do(tmp_path):
    """A new user has candles and nothing else."""
    create_store(tmp_path / "s.db")
    facts = discover(Settings(root=tmp_path, store=tmp_path / "s.db")).store

    assert facts["samples"]["usable"] is False
    assert "clm backfill" in facts["samples"]["because"]


def test_a1_a_missing_or_empty_store_is_said_not_raised(tmp_path):
    """The rest of the inventory is what the operator needs then."""
    (tmp_path / "s.db").touch()

    assert "STORE_EMPTY" in discover(Settings(root=tmp_path, store=tmp_path / "s.db")).store["unreadable"]
    assert "STORE_MISSING" in discover(Settings(root=tmp_path)).store["unreadable"]


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("realized_pnl", -1.3, "-9.9"),
        ("symbol", b"BTCUSDT", "BTCUSDT"),
        ("model_version", b"patch_v2", "xxxxx_x9"),
        ("features", b'{"rsi": 50.25}', '{"rsi": 99.99}'),
        ("exit_time", None, "None"),
        ("features", b"\xff\x00", "\ufffd?"),
    ],
)
def test_a_value_is_shown_in_its_shape_alone(column, value, shown):
    """Enough to see its form, nothing to trade on."""
    assert masked(column, value) == shown


@pytest.mark.needs_redis
def test_i6_redis_is_told_with_its_persistence_and_eviction(tmp_path):
    """An allkeys policy may evict streams, and RDB alone loses what came since the last save."""
    # A socket's path has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="clm-redis-"))
    server = RedisServer(directory, "--maxmemory-policy", "allkeys-lru")
    server.start()
    try:
        facts = discover(Settings(root=tmp_path, redis_url=server.url)).redis
    finally:
        server.stop()
        shutil.rmtree(directory)

    assert facts["answers"] is True
    assert facts["aof"] is False
    assert facts["eviction"] == "allkeys-lru"
    assert facts["streams_are_safe"] is False


@pytest.mark.needs_shared_data
def test_the_logs_of_a_server_are_no_data_and_its_candles_are():
    """The real ones: policy and signal logs, and candles of five symbols."""
    found = discover(
        Settings(store=SHARED_DATA / "quantum_trader.db", redis_url="unix:///nowhere/redis.sock")
    )
    kinds = {Path(one.path).name: (one.kind, one.usable) for one in found.assets}

    assert kinds["policy_obs_2025-11-22.jsonl"] == ("policy log", False)
    assert kinds["signals_2025-11-22.jsonl"] == ("signal log", False)
    assert {name for name, (kind, usable) in kinds.items() if kind == "candles" and usable} == {
        f"{symbol}USDT.csv.gz" for symbol in ("ADA", "BNB", "BTC", "ETH", "SOL")
    }
    assert found.store["tables"]["ai_training_samples"] == 6000
    assert found.store["samples"]["usable"] is True


@pytest.mark.needs_redis
@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", True), ("noeviction", False)])
def test_i6_the_doctor_warns_of_a_redis_that_may_evict_streams(tmp_path, policy, warned):
    """An evicted unread trigger is lost without any report."""
    directory = Path(tempfile.mkdtemp(prefix="clm-redis-"))
    server = RedisServer(directory, "--maxmemory-policy", policy)
    server.start()
    try:
        checks = examine(Settings(root=tmp_path, redis_url=server.url))
    finally:
        server.stop()
        shutil.rmtree(directory)
    said = [(check.status.value, check.message) for check in checks if check.name == "redis"]
    assert said[0][0] == "OK"
    assert [status for status, text in said if "may evict streams" in text] == ["WARN"] * warned
