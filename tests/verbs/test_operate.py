"""Operator commands, with or without a running daemon."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from clm.errors import PromotionError, UsageError
from clm.owner import give_up_root, owned_place, root_connection
from clm.ports import Control, PromotionKind, PromotionState, Reign
from clm.settings import Settings
from clm.upkeep.lock import single_instance
from clm.verbs import doctor, operate
from clm.verbs.overview import overview
from clm.wiring import brake_of
from tests.promotion.server import NEW, OLD, Server, free_port, wait_until

LATER = "patchtst_v20260302_120000"
NEVER = threading.Event()
NOBODY = 65534


def clm(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clm", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=server.environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def promote(server: Server, version: str = NEW, override: str | None = None) -> PromotionState:
    return operate.promote_version(server.settings(), version, override=override, stop=NEVER).state


def roll_back(server: Server, version: str | None = None) -> PromotionState:
    return operate.roll_back(server.settings(), version, reason="it trades badly", stop=NEVER).state


def test_a_person_promotes_while_the_daemon_runs(server: Server) -> None:
    """The daemon holds the state directory for weeks; promotions have a lock of their own."""
    server.artefact()
    with single_instance(server.root / "lock", "the daemon"):
        assert promote(server) is PromotionState.COMMITTED
    assert server.served() == str(server.new_path)


def test_a_model_that_did_not_pass_goes_in_only_with_words_that_remain(server: Server) -> None:
    """An override is a decision, and a decision has an author's reason: in the row, and in the event."""
    server.artefact(decision="REJECT")
    with pytest.raises(PromotionError, match="NOT_PASSED") as refused:
        promote(server)
    assert "--override" in refused.value.message
    with pytest.raises(UsageError):
        promote(server, override="  ")
    assert promote(server, override="we need its telemetry") is PromotionState.COMMITTED
    asked = server.query("SELECT asked FROM clm_promotions WHERE kind = 'PROMOTE'")
    assert asked == [("override: we need its telemetry",)]
    (payload,) = server.query("SELECT payload FROM clm_outbox WHERE event_type = 'model.promoted'")
    assert "we need its telemetry" in str(payload)


@pytest.mark.parametrize("override", [None, "we need its telemetry"])
def test_what_the_engine_has_no_code_for_is_promoted_by_nobody(server: Server, override: str | None) -> None:
    """The existing engine takes any file and stays active on random weights: no reason makes up for that."""
    server.artefact(architecture="patchtst-mix")
    before = server.files()
    ended = operate.promote_version(server.settings(), NEW, override=override, stop=NEVER)
    assert ended.state is PromotionState.ABORTED
    assert "ENGINE_CANNOT_LOAD" in ended.reason
    assert "CLM_ENGINE__LOADS=serving" in ended.reason
    assert server.files() == before
    assert server.query("SELECT count(*) FROM clm_promotions WHERE kind != 'ADOPT'") == [(0,)]
    serving = server.settings(engine_loads="serving")
    ended = operate.promote_version(serving, NEW, override=override, stop=NEVER)
    assert ended.state is PromotionState.COMMITTED


def test_a_former_champion_that_the_engine_can_load_no_more_is_not_brought_back(server: Server) -> None:
    """The engine went back a generation since: the way back may not lead to a network it lacks."""
    server.artefact(architecture="patchtst-mix")
    serving = server.settings(engine_loads="serving")
    operate.promote_version(serving, NEW, override=None, stop=NEVER)
    server.artefact(b"good third", LATER)
    assert promote(server, LATER) is PromotionState.COMMITTED
    ended = operate.roll_back(server.settings(), NEW, reason="it trades badly", stop=NEVER)
    assert ended.state is PromotionState.ABORTED
    assert "ENGINE_CANNOT_LOAD" in ended.reason
    assert operate.roll_back(serving, NEW, reason="again", stop=NEVER).state is PromotionState.COMMITTED


def test_the_champion_is_known_by_its_own_architecture(server: Server) -> None:
    """The next cycle scores it as it is, whatever is trained by then; a stranger's file is the engine's."""
    assert server.promoter().champion().architecture == "engine"  # type: ignore[union-attr]  # there is one
    server.artefact(architecture="patchtst-mix")
    serving = server.settings(engine_loads="serving")
    operate.promote_version(serving, NEW, override=None, stop=NEVER)
    champion = server.promoter().champion()
    assert champion is not None
    assert (champion.version, champion.architecture) == (NEW, "patchtst-mix")


def test_the_doctor_sees_an_engine_that_lacks_the_code_for_what_it_is_pointed_to(server: Server) -> None:
    """clm.env may be changed after a promotion: the engine would not survive its next restart."""
    server.artefact(architecture="patchtst-mix")
    serving = server.settings(engine_loads="serving", architecture="patchtst-mix")

    def said(settings: Settings) -> tuple[str, str]:
        (check,) = [check for check in doctor.examine(settings) if check.name == "architecture"]
        return check.status.value, check.message

    assert said(server.settings())[0] == "OK"
    operate.promote_version(serving, NEW, override=None, stop=NEVER)
    assert said(serving)[0] == "OK"
    status, message = said(server.settings())
    assert status == "FAIL"
    assert f"{NEW} is of architecture patchtst-mix" in message


def test_a_rollback_goes_to_the_model_before_and_the_next_one_further_back(server: Server) -> None:
    """Twice back is two models back, not there and back again."""
    for content, version in ((b"good second", NEW), (b"good third", LATER)):
        server.artefact(content, version)
        assert promote(server, version) is PromotionState.COMMITTED
    assert roll_back(server) is PromotionState.COMMITTED
    assert server.served() == str(server.new_path)
    assert roll_back(server) is PromotionState.COMMITTED
    assert server.served() == str(server.old_path)
    with pytest.raises(PromotionError, match="NO_CHAMPION_BEFORE"):
        roll_back(server)
    assert roll_back(server, LATER) is PromotionState.COMMITTED
    with pytest.raises(PromotionError, match="NEVER_CHAMPION"):
        roll_back(server, "patchtst_v20200101_000000")
    shown = operate.champions(server.settings())
    assert [row["version"] for row in shown] == [LATER, OLD, NEW, LATER, NEW, OLD]
    assert [row["kind"] for row in shown][:3] == ["ROLLBACK", "ROLLBACK", "ROLLBACK"]
    assert shown[0]["until"] is None
    assert all(row["until"] == later["since"] for row, later in zip(shown[1:], shown, strict=False))


def reign(version: str, kind: PromotionKind = PromotionKind.CYCLE) -> Reign:
    return Reign(
        version=version,
        path=Path(f"/m/{version}.pth"),
        sha256="s",
        run_id="r",
        kind=kind,
        since="",
        until=None,
        why="",
    )


def test_a_model_that_came_twice_goes_back_to_what_it_replaced_last() -> None:
    """The newest time it came in by itself counts."""
    shown = [reign("a"), reign("c"), reign("a"), reign("b")]
    assert operate.former_champion(shown, None).version == "c"
    back = [reign("c", PromotionKind.ROLLBACK), *shown]
    assert operate.former_champion(back, None).version == "a"


def test_a_pin_holds_the_champion_until_it_is_taken_off(server: Server) -> None:
    """Only what serves can be pinned."""
    server.artefact()
    with pytest.raises(PromotionError, match="NOT_CHAMPION"):
        operate.pin_champion(server.settings(), NEW, reason="x")
    assert operate.pin_champion(server.settings(), None, reason="a quiet week") == OLD
    assert promote(server, override="in a hurry") is PromotionState.ABORTED
    assert overview(server.settings())["pinned"].startswith(f"{OLD} since")
    assert operate.unpin(server.settings()) == OLD
    assert operate.unpin(server.settings()) is None
    assert promote(server) is PromotionState.COMMITTED


def test_status_says_who_may_replace_the_champion_and_what_waits(server: Server) -> None:
    """The first question after a bad night."""
    settings = server.settings()
    server.promoter().adopt()
    facts = overview(settings)
    assert (facts["engine_mode"], facts["promotion_mode"]) == ("shadow only", "auto")
    assert facts["champion_since"]
    assert facts["candidate_waiting"] is None
    operate.pause_learning(settings, "we move house")
    server.controls.set(Control.SUSPENDED, reason="two rollbacks")
    artefact = server.artefact()
    newer = replace(artefact.manifest, created_at="2999-01-01T00:00:00.000000Z", version=LATER)
    server.registry.register(artefact.model_path, newer)
    facts = overview(settings)
    assert "we move house" in str(facts["paused"])
    assert "we move house" in str(brake_of(settings).frozen_because())
    assert "two rollbacks" in str(facts["held"])
    assert "waits for a person: paused since" in str(facts["promotion_mode"])
    assert facts["candidate_waiting"] == LATER
    assert operate.resume_learning(settings) == {"pause": "we move house", "hold": "two rollbacks"}
    assert overview(settings)["promotion_mode"] == "auto"
    server.env_path.write_bytes(server.env_path.read_bytes().replace(b"ONLY=true", b"ONLY=false"))
    facts = overview(settings)
    assert facts["engine_mode"] == "live"
    assert "the engine is live" in str(facts["promotion_mode"])


def execute(server: Server, sql: str) -> None:
    with closing(sqlite3.connect(server.store)) as connection:
        connection.execute(sql)
        connection.commit()


def test_m5_what_was_edited_in_the_tables_is_reported_and_repaired_only_when_told_to(server: Server) -> None:
    """The environment file is authoritative; a manual edit of the tables may have a reason."""
    server.artefact()
    promote(server)
    settings = server.settings()
    assert operate.reconcile_record(settings, repair=False) == []
    execute(server, "UPDATE clm_models SET is_active = 0")
    (difference,) = operate.reconcile_record(settings, repair=False)
    assert difference == f"clm_models: active is none, not {NEW}"
    assert server.query("SELECT version FROM clm_models WHERE is_active = 1") == []
    operate.reconcile_record(settings, repair=True)
    assert operate.reconcile_record(settings, repair=False) == []
    assert server.query("SELECT version FROM clm_models WHERE is_active = 1") == [(NEW,)]


def test_m5_a_hand_that_pointed_the_engine_elsewhere_is_followed(server: Server) -> None:
    """The record follows the file, never the other way."""
    server.artefact()
    promote(server)
    server.env_path.write_bytes(server.env_path.read_bytes().replace(NEW.encode(), OLD.encode()))
    before = server.files()
    said = operate.reconcile_record(server.settings(), repair=True)
    assert said[0] == f"the engine's file names {OLD}, the last recorded champion is {NEW}"
    assert operate.reconcile_record(server.settings(), repair=False) == []
    assert server.log.reigns()[0].version == OLD
    assert server.files() == before


def test_m10_ctrl_c_in_the_middle_leaves_nothing_half(server: Server) -> None:
    """Exit code 130; the record stays open, and the next process finishes it."""
    server.artefact()
    process = subprocess.Popen(
        [sys.executable, "-m", "clm", "promote", NEW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=server.environment()
        | {"CLM_ENGINE__STABLE_S": "60", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    wait_until(lambda: server.states() == ["COMMITTED", "RESTARTING"], 60)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert len(complaint.splitlines()) >= 1
    assert server.open_record() is not None
    outcome = server.promoter().recover()
    assert outcome is not None
    assert outcome.state is PromotionState.COMMITTED
    assert server.served() == str(server.new_path)


def test_the_verbs_answer_people_and_machines(server: Server) -> None:
    """Exit codes are what scripts look at."""
    assert clm(server, "pause", "we", "move").returncode == 0
    assert json.loads(clm(server, "resume", "--json").stdout) == {"lifted": {"pause": "we move"}}
    done = clm(server, "rollback")
    assert done.returncode == 74
    assert "NO_CHAMPION_BEFORE" in done.stderr
    (shown,) = clm(server, "history").stdout.splitlines()
    assert OLD in shown
    assert "ADOPT" in shown


@pytest.fixture
def reachable(store_template: Path) -> Iterator[Server]:
    """A server of another user's, in a directory that they can enter."""
    with TemporaryDirectory(prefix="clm-owned-") as directory:
        server = Server(root=Path(directory), port=free_port())
        server.lay_out(store_template)
        for path in (server.root, *server.root.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        yield server


@pytest.mark.needs_root
@pytest.mark.parametrize("verb", ["pause", "activate"])
def test_m2_what_root_does_belongs_to_the_owner_of_the_state_directory(reachable: Server, verb: str) -> None:
    """One journal of root's in the store's directory, and the daemon stands still."""

    def child() -> None:
        assert "who owns" in str(give_up_root([verb, "--json"], reachable.environment()))
        reachable.controls.set(Control.PAUSE, reason="as root")
        (reachable.root / "made").write_text("x")
        assert os.getresuid() == (NOBODY, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            os.seteuid(0)
        assert (root_connection() is not None) == (verb == "activate")

    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            child()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {path.stat().st_uid for path in reachable.root.rglob("*")} == {NOBODY}
    assert reachable.controls.read()[Control.PAUSE].reason == "as root"


@pytest.mark.needs_root
def test_m2_root_gives_up_its_rights_before_any_package_is_loaded(reachable: Server) -> None:
    """A package that the owner could have changed would run as root."""
    script = (
        "import os, sys\n"
        "from clm.owner import give_up_root\n"
        "assert give_up_root(['status'], os.environ)\n"
        "print(*{m.split('.')[0] for m in sys.modules} - {*sys.stdlib_module_names, '__main__'})"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env={**reachable.environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["clm"], done.stderr


def test_m2_without_root_nothing_changes(server: Server, monkeypatch) -> None:
    """A directory of root's, or a user who is not root: everything stays as it is."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert give_up_root(["status"], server.environment()) is None


def test_m2_the_owner_is_that_of_the_settings_in_force(tmp_path: Path) -> None:
    """The environment comes before clm.env; without a state directory the store counts."""
    state, other = tmp_path / "state", tmp_path / "other"
    config = tmp_path / "etc/quantum/clm.env"
    config.parent.mkdir(parents=True)
    config.write_text(f"# ours\nCLM_STATE_DIR='{state}'\n")
    state.mkdir(), other.mkdir()
    root = {"CLM_ROOT": str(tmp_path)}
    assert owned_place([], root) == state
    assert owned_place([], {**root, "CLM_STATE_DIR": str(other)}) == other
    state.rmdir()
    assert owned_place(["status"], root) is None
    assert owned_place(["status", "--store", str(other)], root) == other
    assert owned_place([f"--store={other}"], root) == other
    usual = tmp_path / "opt/quantum/data/quantum_trader.db"
    usual.parent.mkdir(parents=True)
    usual.touch()
    assert owned_place([], root) == usual


@pytest.mark.needs_root
def test_m2_a_state_directory_behind_another_users_link_is_refused(reachable: Server) -> None:
    """The link could lead to a directory of root's, and root would stay root."""
    link = reachable.root / "link"
    link.symlink_to("/etc")
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(PromotionError, match="SWITCH_REFUSED"):
        give_up_root(["status"], {**reachable.environment(), "CLM_STATE_DIR": str(link)})
