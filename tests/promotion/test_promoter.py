"""A promotion ends with the new model proven or the previous one back, and touches no more than it must."""

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from clm.errors import PromotionError
from clm.ports import Control, EngineObservation, PromotionState
from tests.promotion.server import KEY, NEW, OLD, Server


def test_a_good_model_is_installed_named_started_and_committed(server: Server) -> None:
    """The engine that answers afterwards has the new file in its environment: proof by effect."""
    before = server.env_path.read_bytes()
    champion_pid = server.engine.observe().main_pid
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.served() == str(server.new_path)
    assert outcome.engine_pid == server.engine.observe().main_pid != champion_pid
    assert server.env_path.read_bytes() == before.replace(OLD.encode(), NEW.encode())
    assert server.new_path.read_bytes() == b"good candidate"
    assert server.old_path.read_bytes() == b"good champion"
    assert server.states() == ["COMMITTED"]
    assert server.events() == ["model.promotion_started", "model.promoted"]
    assert [change.split()[0] for change in outcome.changes] == [
        "installed",
        f"{server.env_path}:",
        "restarted",
    ]


def test_each_state_is_durable_before_its_visible_step(server: Server) -> None:
    """Intent first: after a crash between two steps, the record says what may have happened."""
    server.promoter().promote(server.artefact(), "p07_run")
    order = [
        "prepared",
        "installed",
        "staged",
        "switching",
        "rewriting",
        "pointed",
        "restarting",
        "restarted",
    ]
    assert server.passed == [*order, "verified", "committed"]


@pytest.mark.parametrize("content", [b"crash at once", b"late death"])
def test_h1_an_engine_that_dies_on_the_new_model_gets_the_old_one_back(
    server: Server, content: bytes
) -> None:
    """A model that cannot be served costs seconds, not a night; its file goes, for readers of the newest."""
    before = server.files()
    outcome = server.promoter(stable_s=1.5).promote(server.artefact(content), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK
    assert "the engine failed" in outcome.reason
    assert server.files() == server.taken_back(before)
    assert server.served() == str(server.old_path)
    assert server.answers()
    last_start = len(server.passed) - server.passed[::-1].index("restarted")
    assert server.passed.index("discarded") < last_start
    assert server.states() == ["ROLLED_BACK"]
    expected = ["model.promotion_started", "model.rollback_initiated", "model.rolled_back"]
    assert server.events() == expected


def test_h7_an_engine_that_never_answers_is_rolled_back(server: Server) -> None:
    """Active is not serving."""
    outcome = server.promoter(active_timeout_s=1.0).promote(server.artefact(b"deaf model"), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK
    assert "health endpoint" in outcome.reason
    assert server.served() == str(server.old_path)


class _OldModelEngine:
    """An engine whose unit overrides the variable: it restarts and goes on with the model it had."""

    def __init__(self, server: Server) -> None:
        self._server, self._real = server, server.engine

    def observe(self) -> EngineObservation:
        return self._real.observe()

    def restart(self) -> None:
        now = self._server.env_path.read_bytes()
        self._server.env_path.write_bytes(now.replace(NEW.encode(), OLD.encode()))
        self._real.restart()
        self._server.env_path.write_bytes(now)
        os.utime(self._server.env_path)


def test_h5_an_engine_that_serves_the_old_model_is_no_success(server: Server) -> None:
    """200 OK says that something is served, not what."""
    outcome = server.promoter(engine=_OldModelEngine(server)).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK
    assert f"runs with {server.old_path} instead of {server.new_path}" in outcome.reason


def test_the_first_model_needs_no_champion(bare_server: Server) -> None:
    """An engine that was down for want of a model is started on the first one, where the policy allows it."""
    server = bare_server
    before = server.env_path.read_bytes()
    outcome = server.promoter(engine_may_be_down=True).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.env_path.read_bytes() == before + f"\n{KEY}={server.new_path}\n".encode()
    assert server.served() == str(server.new_path)


def test_a_first_model_that_fails_leaves_the_file_as_it_was(bare_server: Server) -> None:
    """Without a previous model the way back is the line's absence, to the byte."""
    server = bare_server
    before = server.files()
    outcome = server.promoter(engine_may_be_down=True).promote(server.artefact(b"crash"), "p07_run")
    assert outcome.state is PromotionState.ROLLED_BACK, outcome.reason
    assert server.files() == server.taken_back(before)


def test_an_engine_that_is_down_is_not_started_unasked(stopped_server: Server) -> None:
    """An operator stopped it for a reason, and an unhealthy engine proves nothing about a model."""
    outcome = stopped_server.promoter().promote(stopped_server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert "ENGINE_NOT_ACTIVE" in outcome.reason
    assert stopped_server.states() == []


def break_env(how: str, server: Server) -> None:
    path, data = server.env_path, server.env_path.read_bytes()
    if how == "ENV_MISSING":
        path.unlink()
    else:
        path.write_bytes(
            {
                "ENV_EMPTY": b"",
                "ENV_AMBIGUOUS": data + b"\n" + f"{KEY}=/elsewhere.pth\n".encode(),
                "ENV_EXPORT": data.replace(KEY.encode(), b"export " + KEY.encode()),
                "ENV_UNSAFE": data.replace(b"operations", b"operations\\"),
                "ENV_ENCODING": data + b"\nX=\xff\n",
            }[how]
        )


@pytest.mark.parametrize(
    "how", ["ENV_MISSING", "ENV_EMPTY", "ENV_AMBIGUOUS", "ENV_EXPORT", "ENV_UNSAFE", "ENV_ENCODING"]
)
def test_g7_a_broken_environment_file_stops_the_promotion_before_it_begins(server: Server, how: str) -> None:
    """Nothing is created from nothing and nothing is guessed."""
    break_env(how, server)
    before, pid = server.files(), server.engine.observe().main_pid
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith(how)
    assert outcome.changes == ()
    assert server.files() == before
    assert server.engine.observe().main_pid == pid
    assert server.states() == []


def test_f2_a_torn_artefact_is_refused(server: Server) -> None:
    """What is promoted is what was judged, byte for byte."""
    artefact = server.artefact(b"good candidate with a long tail")
    artefact.model_path.write_bytes(b"good candidate with")
    outcome = server.promoter().promote(artefact, "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert "has 19 bytes, its manifest says 31" in outcome.reason


def test_f4_a_taken_name_is_never_overwritten(server: Server) -> None:
    """A file we did not write is somebody's."""
    server.new_path.write_bytes(b"somebody's")
    before = server.files()
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert "FILE_TAKEN" in outcome.reason
    assert server.files() == before


def test_f4_a_name_taken_in_the_last_moment_is_not_overwritten_either(server: Server) -> None:
    """The look before and the write are two moments; the link decides."""

    def take(point: str) -> None:
        if point == "prepared":
            server.new_path.write_bytes(b"somebody's")

    outcome = server.promoter(take).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert server.new_path.read_bytes() == b"somebody's"
    assert server.named() == str(server.old_path)


@pytest.mark.parametrize("point", ["staged", "switching"])
def test_f6_a_model_file_that_vanishes_before_the_switch_aborts(server: Server, point: str) -> None:
    """The engine must never be pointed to a file that is not there."""
    before = server.files()

    def remove(passed: str) -> None:
        if passed == point:
            server.new_path.unlink()

    outcome = server.promoter(remove).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert "was removed or changed" in outcome.reason
    assert server.files() == before
    assert server.served() == str(server.old_path)


def test_f7_j2_too_little_space_is_found_before_anything_is_written(server: Server) -> None:
    """A full disk in the middle is the worst moment to find out."""
    outcome = server.promoter(min_free_bytes=10**18).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("DISK_FULL")
    assert server.states() == []


def test_f8_a_second_promotion_at_the_same_time_is_refused(server: Server) -> None:
    """Two hands at one switch cannot both be right."""
    second: list[str] = []
    artefact = server.artefact()

    def meanwhile(point: str) -> None:
        if point == "staged":
            thread = threading.Thread(
                target=lambda: second.append(server.promoter().promote(artefact, "p07_other").reason)
            )
            thread.start()
            thread.join()

    first = server.promoter(meanwhile).promote(artefact, "p07_run")
    assert first.state is PromotionState.COMMITTED
    assert second[0].startswith("PROMOTION_BUSY")


def test_f8_recovery_keeps_off_a_promotion_that_is_alive(server: Server) -> None:
    """An open record is not orphaned while its owner is alive: the lock distinguishes the two."""
    refused: list[str] = []

    def recover_meanwhile(point: str) -> None:
        if point == "pointed":
            with pytest.raises(PromotionError) as caught:
                server.promoter().recover()
            refused.append(caught.value.code)

    outcome = server.promoter(recover_meanwhile).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert refused == ["PROMOTION_BUSY"]


def test_f8_an_unfinished_promotion_blocks_the_next(server: Server) -> None:
    """Recovery first: two open records would be two truths."""
    artefact = server.artefact()
    assert server.killed_at("staged", lambda promoter: promoter.promote(artefact, "p07_run"))
    outcome = server.promoter().promote(artefact, "p07_next")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("PROMOTION_BUSY")


def test_f9_without_a_way_back_there_is_no_way_on(server: Server) -> None:
    """The champion must be there before the engine leaves it."""
    server.old_path.unlink()
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("CHAMPION_MISSING")


def test_f9_a_champion_that_changed_since_its_promotion_is_no_way_back(server: Server) -> None:
    """A promoted file is write-once; another hash means another hand."""
    assert server.promoter().promote(server.artefact(), "p07_run").state is PromotionState.COMMITTED
    server.new_path.write_bytes(b"good but other")
    later = "patchtst_v20260302_120000"
    outcome = server.promoter().promote(server.artefact(b"good third", later), "p07_next")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("CHAMPION_CHANGED")


def test_f10_a_rollback_that_fails_is_loud_and_leaves_the_champion_named(server: Server) -> None:
    """When nothing helps any more the file says the last known good model, and a person is called."""

    def ruin(point: str) -> None:
        if point == "restarted":
            server.old_path.write_bytes(b"crash now")

    outcome = server.promoter(ruin).promote(server.artefact(b"crash"), "p07_run")
    assert outcome.state is PromotionState.ROLLBACK_FAILED
    assert "could not be restored" in outcome.reason
    assert server.events() == [
        "model.promotion_started",
        "model.rollback_initiated",
        "model.promotion_ended",
        "learning.performance.alert",
        "learning.performance.alert",
    ]
    assert "nothing is promoted automatically" in server.log.controls()[Control.SUSPENDED].reason


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_f13_the_new_file_is_readable_for_the_engines_group_whatever_the_umask(
    server: Server, umask: int
) -> None:
    """0640 and the directory's group: the engine reads it, the world does not."""
    if os.geteuid() == 0:
        os.chown(server.models, -1, 12345)
    before = os.umask(umask)
    try:
        outcome = server.promoter().promote(server.artefact(), "p07_run")
    finally:
        os.umask(before)
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    status = server.new_path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_gid == server.models.stat().st_gid


def test_f14_the_shadow_flag_is_never_touched(server: Server) -> None:
    """Going live is a person's decision."""
    for content, version in ((b"good", NEW), (b"crash", "patchtst_v20260302_120000")):
        server.promoter().promote(server.artefact(content, version), "p07_run")
        assert server.env_path.read_bytes().count(b"\nPATCHTST_SHADOW_ONLY=true\n") == 1


def test_g8_an_operators_edit_of_another_line_survives(server: Server) -> None:
    """The loser of the race reads again and writes on top of the operator's version."""
    edits = [b"\nEDITED=first\n"]

    def edit(point: str) -> None:
        if point == "rewriting" and edits:
            server.env_path.write_bytes(server.env_path.read_bytes() + edits.pop())

    outcome = server.promoter(edit).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert b"\nEDITED=first\n" in server.env_path.read_bytes()
    assert server.named() == str(server.new_path)


def test_g8_an_operator_who_keeps_editing_wins(server: Server) -> None:
    """Nothing was switched yet, so nothing is rolled back."""

    def edit(point: str) -> None:
        if point == "rewriting":
            server.env_path.write_bytes(server.env_path.read_bytes() + b"\n# again")

    outcome = server.promoter(edit).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("ENV_CHANGED")
    assert server.env_path.read_bytes().endswith(b"# again\n# again")
    assert server.named() == str(server.old_path)
    assert not server.new_path.exists()


@pytest.mark.parametrize(("content", "when"), [(b"good", "restarted"), (b"crash", "rolling_back")])
def test_g9_an_operator_who_points_elsewhere_meanwhile_has_the_last_word(
    server: Server, content: bytes, when: str
) -> None:
    """A third value is a person's decision, on the way out and on the way back: an alert says so, no more."""
    theirs = server.models / "operators_choice.pth"
    theirs.write_bytes(b"good choice")

    def point_elsewhere(passed: str) -> None:
        if passed == when:
            now = server.env_path.read_bytes()
            server.env_path.write_bytes(now.replace(str(server.new_path).encode(), str(theirs).encode()))

    outcome = server.promoter(point_elsewhere).promote(server.artefact(content), "p07_run")
    assert outcome.state is PromotionState.SUPERSEDED
    assert server.named() == str(theirs)
    assert server.events()[-1] == "learning.performance.alert"


def test_g10_a_symbolic_link_stays_one(server: Server) -> None:
    """Operators keep the file in a directory of its own; the rename happens there."""
    real = server.env_path.parent / "ai-engine.d" / "ai-engine.env"
    real.parent.mkdir()
    server.env_path.rename(real)
    server.env_path.symlink_to(real)
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.env_path.is_symlink()
    assert NEW.encode() in real.read_bytes()


def test_h6_an_engine_that_was_unhealthy_before_is_no_baseline(server: Server) -> None:
    """A dependency that is down must not be held against the next model."""
    url = f"http://127.0.0.1:{server.port}/nothing-here"
    outcome = server.promoter(health_url=url).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("ENGINE_UNHEALTHY")


def test_h9_an_engine_that_a_person_stops_meanwhile_is_not_started_again(server: Server) -> None:
    """The file names the champion for its next start; the starting is theirs."""

    def stop(point: str) -> None:
        if point == "restarted":
            server.engine.stop()
            (server.root / "engine.pid").unlink()

    outcome = server.promoter(stop).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.SUPERSEDED
    assert server.named() == str(server.old_path)
    assert not server.new_path.exists()
    assert not server.answers()


def test_h9_an_engine_that_stops_right_after_its_proof_is_not_committed(server: Server) -> None:
    """COMMITTED is recorded only while the engine is on the candidate."""

    def stop(point: str) -> None:
        if point == "verified" and server.passed.count(point) == 1:
            server.engine.stop()
            (server.root / "engine.pid").unlink()

    outcome = server.promoter(stop).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.SUPERSEDED
    assert server.named() == str(server.old_path)


def test_an_engine_on_another_model_than_the_file_names_is_no_baseline(server: Server) -> None:
    """Otherwise a rollback would restore a model that was never seen working."""
    other = server.models / "other.pth"
    other.write_bytes(b"good other")
    server.env_path.write_bytes(server.env_path.read_bytes().replace(OLD.encode(), b"other"))
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.reason.startswith("ENGINE_MISMATCH")


def test_the_engine_does_not_inherit_our_lock(server: Server) -> None:
    """Else nothing could be promoted for as long as the engine lives."""
    assert server.promoter().promote(server.artefact(), "p07_run").state is PromotionState.COMMITTED
    later = "patchtst_v20260302_120000"
    again = server.promoter().promote(server.artefact(b"good third", later), "p07_next")
    assert again.state is PromotionState.COMMITTED, again.reason


def test_a_model_that_is_named_already_is_not_promoted_again(server: Server) -> None:
    """It would be its own way back."""
    artefact = server.artefact()
    server.promoter().promote(artefact, "p07_run")
    outcome = server.promoter().promote(artefact, "p07_again")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("ALREADY_NAMED")
    assert server.states() == ["COMMITTED"]


def test_a_value_that_could_not_be_put_back_to_the_byte_is_refused(server: Server) -> None:
    """After a crash only the path is known, not how it was quoted."""
    quoted = server.env_path.read_bytes().replace(
        f"={server.models}".encode(), f'="{server.models}"'.encode()
    )
    server.env_path.write_bytes(quoted)
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert "could not be restored" in outcome.reason
    assert server.env_path.read_bytes() == quoted


def test_the_champion_is_what_the_file_names(server: Server) -> None:
    """A file that was there before us is adopted with the hash it has now."""
    champion = server.promoter().champion()
    assert champion is not None
    assert (champion.version, champion.path, champion.adopted) == (OLD, server.old_path, True)
    server.promoter().promote(server.artefact(), "p07_run")
    champion = server.promoter().champion()
    assert champion is not None
    assert (champion.version, champion.adopted) == (NEW, False)
    assert champion.feature_names == ("rsi", "ma_cross")


@pytest.mark.parametrize("how", ["no line", "no file", "no model"])
def test_no_champion_is_a_value(stopped_server: Server, how: str) -> None:
    """The cycle goes on and says that there was nothing to compare with."""
    if how == "no line":
        stopped_server.env_path.write_text("A=1\n")
    elif how == "no file":
        stopped_server.env_path.unlink()
    else:
        stopped_server.old_path.unlink()
    assert stopped_server.promoter().champion() is None


def test_f7_a_missing_models_directory_aborts(server: Server) -> None:
    """It is the operator's to make; ours would have the wrong owner."""
    artefact = server.artefact()
    server.models.rename(server.root / "elsewhere")
    outcome = server.promoter().promote(artefact, "p07_run")
    assert outcome.reason.startswith("MODELS_MISSING")
    (server.root / "elsewhere").rename(server.models)


def test_f7_models_and_environment_file_do_not_share_a_directory(server: Server) -> None:
    """Each directory has its own lock, and no other file of ours belongs next to the models."""
    inside = server.models / "ai-engine.env"
    server.env_path.rename(inside)
    server.env_path.symlink_to(inside)
    outcome = server.promoter().promote(server.artefact(), "p07_run")
    assert outcome.reason.startswith("SAME_DIRECTORY")


def test_h8_an_unreachable_service_manager_aborts(server: Server) -> None:
    """Nothing is begun that could not be ended."""

    class Unreachable:
        def observe(self) -> EngineObservation:
            raise PromotionError("ENGINE_UNREACHABLE", "install the polkit rule")

        def restart(self) -> None: ...

    outcome = server.promoter(engine=Unreachable()).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason == "ENGINE_UNREACHABLE: install the polkit rule"
    assert server.states() == []


def test_nothing_but_promoted_models_ever_matches_the_engines_pattern(server: Server) -> None:
    """One generation of the engine takes the newest such file, temporary or not."""
    seen: set[str] = set()

    def look(_point: str) -> None:
        seen.update(p.name for p in Path(server.models).glob("patchtst_v*"))

    server.promoter(look).promote(server.artefact(b"crash"), "p07_run")
    assert seen == {f"{OLD}.pth", f"{NEW}.pth"}
    assert sorted(p.name for p in server.models.iterdir()) == [f"{OLD}.pth"]


def test_l14_a_journal_with_bytes_that_are_no_utf8_does_not_keep_a_promotion_from_its_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witness reads what the engine and its libraries wrote, through the real program and its pipe."""
    programs = tmp_path / "programs"
    programs.mkdir()
    printed = b"\xff\xfe\n" * 100 + f"loaded {NEW}.pth\n".encode() + b"\xed\xa0\x80"
    (programs / "journalctl").write_text(f"#!{sys.executable}\nimport os\nos.write(1, {printed!r})\n")
    (programs / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    promoter = server.promoter(journal_pattern="loaded {file}")
    outcome = promoter.promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert server.served() == server.named() == str(server.new_path)
    assert server.terminal_events() == ["model.promoted"]
