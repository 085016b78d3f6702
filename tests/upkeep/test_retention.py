"""What is removed is never what anybody could be pointed to, and what stays does not grow for ever."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.artefacts.files import sha256_of
from clm.clock import SystemClock, iso
from clm.events import RetrainingStarted
from clm.ports import Control, PromotionKind, PromotionRow, PromotionState, Reign
from clm.store.outbox import SqliteOutbox
from clm.store.runs import SqliteJournal
from clm.upkeep.disks import Disk, DiskBrake
from clm.upkeep.removable import CHAMPIONS_KEPT, Aged, models_in_use, surplus, surplus_models
from clm.upkeep.retention import EVENTS_KEPT, NEWEST_KEPT, KeptFiles, Records, Retention, RetentionPolicy
from clm.wiring import brake_of
from tests.builders import promotion_start
from tests.promotion.server import Server, manifest

NAMES = st.sampled_from([f"m{n}" for n in range(9)])
KINDS = st.sampled_from([PromotionKind.CYCLE, PromotionKind.ROLLBACK, PromotionKind.ADOPT])


def path_of(name: str) -> Path:
    return Path(f"/models/{name}.pth")


def reign(name: str, kind: PromotionKind = PromotionKind.CYCLE, sha256: str = "s") -> Reign:
    return Reign(
        version=name, path=path_of(name), sha256=sha256, run_id="r", kind=kind, since="", until=None, why=""
    )


def record(candidate: str, previous: str) -> PromotionRow:
    return PromotionRow(
        promotion_id=1,
        kind=PromotionKind.CYCLE,
        asked="",
        run_id="r",
        version=candidate,
        candidate_path=path_of(candidate),
        candidate_sha256="s",
        previous_path=path_of(previous),
        previous_sha256="s",
        env_sha256_before="e",
        state=PromotionState.STAGED,
        candidate_stays=False,
        lineage_sha256=None,
        attempts=0,
        store_count=1,
        reason="",
        updated_at="",
    )


@given(
    history=st.lists(st.tuples(NAMES, KINDS), max_size=40),
    named=st.none() | NAMES,
    running=st.none() | NAMES,
    promoting=st.none() | st.tuples(NAMES, NAMES),
    pinned=st.none() | NAMES,
)
def test_f12_nothing_that_anybody_could_be_pointed_to_is_ever_surplus(
    history: list[tuple[str, PromotionKind]],
    named: str | None,
    running: str | None,
    promoting: tuple[str, str] | None,
    pinned: str | None,
) -> None:
    """Any history of promotions, rollbacks and adoptions, with any model named at the end."""
    reigns = [reign(name, kind) for name, kind in history]
    in_use = models_in_use(
        reigns,
        named=path_of(named) if named else None,
        running=path_of(running) if running else None,
        open_record=record(*promoting) if promoting else None,
        pinned=pinned,
    )
    asked = {name for name in (named, running, *(promoting or ())) if name}
    assert {path_of(name) for name in asked} <= in_use
    gone = {r.version for r in surplus_models(reigns, in_use)}
    champions = list(dict.fromkeys(name for name, _ in history))[:CHAMPIONS_KEPT]
    assert gone.isdisjoint({*champions, *asked})
    if pinned in {name for name, _ in history}:
        assert pinned not in gone
    brought = {name for name, kind in history if kind is PromotionKind.CYCLE}
    assert gone <= brought
    assert len(brought - gone) <= CHAMPIONS_KEPT + 5


@given(
    ages=st.lists(st.floats(-5, 5000), max_size=60),
    kept=st.sets(st.integers(0, 59)),
    days=st.floats(0, 400),
    newest=st.integers(0, 30),
)
def test_k2_a_clock_that_jumped_does_not_clear_the_house(
    ages: list[float], kept: set[int], days: float, newest: int
) -> None:
    """Only what is too old goes, oldest first, and the newest stay whatever the clock says."""
    things = [Aged(name=str(n), age_days=age) for n, age in enumerate(ages)]
    gone = surplus(things, kept={str(n) for n in kept}, days=days, newest=newest)
    assert all(ages[int(name)] > days and int(name) not in kept for name in gone)
    assert len(things) - len(gone) >= min(newest, len(things))
    assert [ages[int(name)] for name in gone] == sorted((ages[int(name)] for name in gone), reverse=True)


def retention(server: Server, *, full: bool = False, **changes: float) -> Retention:
    values = {"artefact_days": 30.0, "run_days": 180.0, "event_days": 30.0, "disk_mark": 0.9, **changes}
    return Retention(
        served=server.served_engine(server.workplace().switch),
        kept=KeptFiles(
            registry=server.registry,
            runs_dir=server.root / "runs",
            checkpoints_dir=server.root / "checkpoints",
        ),
        records=Records(
            promotions=server.log,
            journal=SqliteJournal(server.store, SystemClock()),
            outbox=SqliteOutbox(server.store, SystemClock()),
        ),
        clock=SystemClock(),
        policy=RetentionPolicy(**values),
        disk=lambda path: Disk(path=path, total_bytes=100, free_bytes=5 if full else 50),
    )


def crown(server: Server, number: int) -> Path:
    """Make a champion as a promotion leaves it, without the minute it takes."""
    version = f"patchtst_v2025{number:04d}_000000"
    path, content = server.models / f"{version}.pth", b"good %d" % number
    path.write_bytes(content)
    server.artefact(content, version)
    run_id = f"p07_2025{number:04d}_000000_0000000{number % 10}"
    begun = server.log.begin(promotion_start(path, sha256_of(path), run_id=run_id))
    server.log.advance(begun.promotion_id, PromotionState.COMMITTED)
    return path


def test_f12_of_thirty_champions_the_last_four_stay_and_whatever_is_named(server: Server) -> None:
    """The operator points to the seventh, an engine runs on the first that was there: all of them stay."""
    paths = [crown(server, n) for n in range(101, 131)]
    stranger = server.models / "patchtst_v20240101_000000.pth"
    stranger.write_bytes(b"somebody's")
    now = server.env_path.read_bytes()
    server.env_path.write_bytes(now.replace(str(server.old_path).encode(), str(paths[6]).encode()))
    server.controls.set(Control.PIN, value=paths[8].stem, reason="x")
    paths[3].write_bytes(b"changed by somebody")
    server.log.begin(promotion_start(paths[10], sha256_of(paths[10]), previous_path=paths[11]))
    retention(server).tidy()
    stay = {server.old_path, stranger, paths[3], paths[6], paths[8], paths[10], paths[11], *paths[-4:]}
    assert {*server.models.iterdir()} == stay
    assert retention(server).tidy() == ()


def test_f12_while_the_engine_or_the_file_cannot_be_asked_no_model_goes(server: Server) -> None:
    """Unknown is in use."""
    for number in range(101, 111):
        crown(server, number)
    before = {*server.models.iterdir()}
    (server.root / "engine.pid").rename(server.root / "engine.away")
    (server.root / "engine.pid").write_text("nonsense")
    retention(server).tidy()
    assert {*server.models.iterdir()} == before
    (server.root / "engine.away").rename(server.root / "engine.pid")
    env = server.env_path.read_bytes()
    server.env_path.write_bytes(b"")
    retention(server).tidy()
    assert {*server.models.iterdir()} == before
    server.env_path.write_bytes(env)
    retention(server).tidy()
    assert len({*server.models.iterdir()}) == 5


def test_nothing_is_removed_while_a_promotion_is_under_way(server: Server) -> None:
    """The lock of the models directory is the promotion's."""
    seen: list[tuple[str, ...]] = []
    for number in range(101, 111):
        crown(server, number)

    def tidy_meanwhile(point: str) -> None:
        if point == "pointed":
            seen.append(retention(server).tidy())

    outcome = server.promoter(tidy_meanwhile).promote(server.artefact(), "p07_run")
    assert outcome.state is PromotionState.COMMITTED, outcome.reason
    assert seen == [()]


def register(server: Server, age_days: float, number: int, decision: str = "REJECT") -> str:
    made = datetime.now(UTC) - timedelta(days=age_days)
    version = f"patchtst_v{made:%Y%m%d}_{number:06d}"
    weights = server.root / "weights.pth"
    weights.write_bytes(b"m %d" % number)
    described = manifest(weights.read_bytes(), version)
    server.registry.register(weights, replace(described, created_at=iso(made), decision=decision))
    return version


def test_rejected_models_go_by_age_and_the_newest_stay(server: Server) -> None:
    """A rejected model is evidence for a while; the last ones are evidence whatever their age."""
    old = [register(server, 100 - n, n) for n in range(10)]
    young = [register(server, 3, 100 + n) for n in range(NEWEST_KEPT)]
    gone = retention(server).tidy()
    assert set(server.registry.versions()) == set(young)
    assert gone[0] == f"model {old[0]}"
    assert not list((server.root / "artefacts").glob(".*"))


def test_a_candidate_that_waits_for_a_person_is_kept(server: Server) -> None:
    """They may come back from their holidays."""
    waits = register(server, 400, 1, decision="PROMOTE")
    for number in range(NEWEST_KEPT + 5):
        register(server, 300, 10 + number)
    retention(server).tidy()
    assert waits in server.registry.versions()


def test_j2_above_the_mark_the_oldest_go_whatever_their_age_and_the_operator_is_told(server: Server) -> None:
    """Room comes first; the champion's model and the newest stay all the same."""
    champion = crown(server, 101)
    server.env_path.write_bytes(
        server.env_path.read_bytes().replace(str(server.old_path).encode(), str(champion).encode())
    )
    newest = [register(server, 2 - n / 100, n) for n in range(6)][-1]
    keeper = retention(server, full=True)
    keeper.tidy()
    assert set(server.registry.versions()) == {champion.stem, newest}
    assert champion.exists()
    keeper.tidy()
    assert server.events().count("learning.performance.alert") == 1


def test_runs_go_by_age_except_the_champions_and_the_newest(server: Server) -> None:
    """A proof pack is kept as long as its model can serve."""
    champion = crown(server, 101)
    (run_of_champion,) = {server.registry.manifest(champion.stem).lineage.run_id}
    runs = server.root / "runs"
    assert run_of_champion == "p07_x"
    names = [f"p07_2020010{n % 9 + 1}_00000{n % 10}_{n:08x}" for n in range(30)]
    for name in (*names, "somebody's notes"):
        (runs / name / "job").mkdir(parents=True)
        (runs / name / "proof.json").write_text("{}")
    retention(server).tidy()
    left = {path.name for path in runs.iterdir()}
    assert len(left & set(names)) == NEWEST_KEPT
    assert "somebody's notes" in left


def test_published_events_go_by_age_and_waiting_ones_never(server: Server) -> None:
    """What no reader has seen yet is not old."""
    outbox = SqliteOutbox(server.store, SystemClock())
    event = RetrainingStarted(model="patchtst", timestamp="t", job_id="r", trigger_reason="x")
    outbox.append([event] * (EVENTS_KEPT + 50), trace_id="r")
    outbox.mark_published(range(1, 41), "a server")
    long_after = datetime.now(UTC) + timedelta(days=1)
    assert outbox.forget(long_after, keep=EVENTS_KEPT) == 40
    assert outbox.waiting_count() == EVENTS_KEPT + 10
    outbox.mark_published(range(41, EVENTS_KEPT + 51), "a server")
    assert outbox.forget(long_after, keep=EVENTS_KEPT) == 10
    assert outbox.forget(datetime.now(UTC) - timedelta(days=1), keep=0) == 0


@pytest.mark.parametrize(
    ("free_bytes", "total_bytes", "stops"),
    [
        (10**9, 10**10, False),
        (10**9 - 1, 10**10, True),
        (4 * 10**9, 10**11, True),
        (6 * 10**9, 10**11, False),
    ],
)
def test_j2_nothing_is_trained_on_a_disk_that_is_nearly_full(
    free_bytes: int, total_bytes: int, stops: bool, tmp_path: Path
) -> None:
    """Below 1 GB or 5 % a run would end in the middle, and the engine's writes with it."""
    brake = DiskBrake(
        [tmp_path],
        min_free_bytes=10**9,
        min_free_share=0.05,
        disk=lambda path: Disk(path=path, total_bytes=total_bytes, free_bytes=free_bytes),
    )
    why = brake.frozen_because()
    assert bool(why) is stops
    if why:
        assert str(tmp_path) in why


def test_j2_the_daemon_asks_for_room_before_it_trains(server: Server) -> None:
    """A brake that is never read stops nothing."""
    assert brake_of(server.settings(train_min_free_mb=0, train_min_free_share=0.0)).frozen_because() is None
    why = brake_of(server.settings(train_min_free_mb=10**8)).frozen_because()
    assert why
    assert "a run needs" in why


def test_a_checkpoint_stays_for_days_and_goes_first_where_the_disk_is_full(server: Server) -> None:
    """An interrupted training goes on soon or never; what a killed writer left is swept at once."""
    directory = server.root / "checkpoints"
    directory.mkdir()
    for name, days in (("new", 1), ("old", 4)):
        (directory / name).write_bytes(b"weights")
        os.utime(directory / name, (time.time() - 86400 * days,) * 2)
    (directory / ".new.clm-1-0.tmp").write_bytes(b"half")
    assert "checkpoint old" in retention(server).tidy()
    assert [path.name for path in directory.iterdir()] == ["new"]
    assert "checkpoint new" in retention(server, full=True).tidy()
