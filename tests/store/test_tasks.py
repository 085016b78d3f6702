"""A request is in the store once before it is acknowledged, and is worked on by one at a time."""

import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clm.clock import SystemClock
from clm.domain.task import Delivery, Trigger
from clm.errors import DataError
from clm.events import ModelPromoted
from clm.ports import PromotionState, RunStatus
from clm.store.tasks import SqliteTaskQueue
from tests.builders import NOW, run_start
from tests.store.conftest import WISH, artefact, change, child, look
from tests.store.test_outbox import started
from tests.store.test_promotions import prepared


def delivery(entry_id: str = "1-0", sha: str = "a" * 64) -> Delivery:
    return Delivery(stream="quantum:stream:model.retrain", entry_id=entry_id, payload_sha256=sha)


def test_c1_a_delivery_is_a_task_durably_when_accept_returns(queue, store):
    """Whatever happens next, an acknowledgement is then no lie."""
    assert queue.accept([(delivery(), WISH)], NOW) == [1]
    assert look(store, "SELECT entry_id, state, task_id FROM clm_inbox") == [("1-0", "accepted", 1)]
    assert look(store, "SELECT status, triggers FROM clm_tasks") == [("pending", 1)]


def test_c2_a_delivery_seen_before_adds_nothing(queue, store):
    """Killed between the commit and the acknowledgement, the entry comes again, also after its task ended."""
    queue.accept([(delivery(), WISH)], NOW)
    assert queue.accept([(delivery(), WISH), (delivery(), WISH)], NOW) == [1, 1]
    task = queue.claim(NOW)
    queue.complete(task.task_id, NOW, "REJECT")
    assert queue.accept([(delivery(), WISH)], NOW) == [1]
    assert queue.pending_count() == 0
    assert look(store, "SELECT count(*), max(triggers) FROM clm_tasks") == [(1, 1)]


def test_c7_the_same_wish_under_other_ids_is_one_pending_task(queue, store):
    """One training, not ten thousand."""
    batch = [(delivery(f"{n}-0"), WISH) for n in range(100)]
    assert queue.accept(batch, NOW) == [1] * 100
    assert queue.submit(WISH, NOW) == 1
    assert look(store, "SELECT id, status, triggers FROM clm_tasks") == [(1, "pending", 101)]
    assert look(store, "SELECT count(*) FROM clm_inbox WHERE task_id = 1") == [(100,)]


def test_c8_the_same_id_with_another_payload_is_another_delivery(queue, store):
    """A stream restored from an old dump gives its ids out again."""
    queue.accept([(delivery(sha="a" * 64), WISH)], NOW)
    task = queue.claim(NOW)
    queue.complete(task.task_id, NOW, "REJECT")
    assert queue.accept([(delivery(sha="b" * 64), WISH)], NOW) == [2]
    assert look(store, "SELECT count(*) FROM clm_inbox") == [(2,)]


def test_the_same_entry_id_in_another_stream_is_another_delivery(queue, store):
    """Two streams count their entries each for itself."""
    other = replace(delivery(), stream="quantum:stream:manual.retrain_request")
    queue.accept([(delivery(), WISH)], NOW)
    queue.accept([(other, WISH), (delivery(), WISH)], NOW)
    assert look(store, "SELECT count(*) FROM clm_inbox") == [(2,)]
    assert look(store, "SELECT triggers FROM clm_tasks") == [(2,)]


def test_a_large_batch_of_several_models_is_one_task_each(queue, store):
    """C6: more entries than fit in one query; the first entry of each model gives the reason."""
    batch = [(delivery(f"{n}-0"), replace(WISH, model=f"m{n % 3}", reason=f"r{n}")) for n in range(1300)]
    ids = queue.accept(batch, NOW)
    assert queue.accept(batch, NOW) == ids
    assert look(store, "SELECT model, reason, triggers FROM clm_tasks ORDER BY id") == [
        ("m0", "r0", 434),
        ("m1", "r1", 433),
        ("m2", "r2", 433),
    ]
    assert look(store, "SELECT count(*), count(task_id) FROM clm_inbox") == [(1300, 1300)]


def test_c17_a_wish_during_a_run_waits_for_its_end(queue):
    """It may ask for rows that the run has not read; it is not lost in the running task."""
    first = queue.submit(WISH, NOW)
    queue.claim(NOW)
    second = queue.submit(WISH, NOW)
    assert second != first
    assert queue.submit(WISH, NOW) == second
    queue.complete(first, NOW, "KEEP")
    assert queue.claim(NOW).task_id == second


def test_c4_a_buried_delivery_is_never_a_task(queue, store):
    """Its row says why; a redelivery changes nothing."""
    queue.bury([(delivery(), "not JSON")], NOW)
    assert queue.accept([(delivery(), WISH), (delivery("2-0"), WISH)], NOW) == [1]
    queue.bury([(delivery("2-0"), "changed my mind")], NOW)
    assert look(store, "SELECT entry_id, state, reason FROM clm_inbox ORDER BY entry_id") == [
        ("1-0", "dead", "not JSON"),
        ("2-0", "accepted", ""),
    ]


def test_a_released_task_joins_the_one_that_came_meanwhile(queue, store):
    """One open task a model; the attempts are not lost, and the inbox points to the one that stays."""
    queue.accept([(delivery("1-0"), WISH)], NOW)
    queue.claim(NOW)
    queue.accept([(delivery("2-0"), WISH)], NOW)
    queue.release(1, NOW, "interrupted")
    assert look(store, "SELECT id, status, triggers, outcome FROM clm_tasks") == [
        (1, "pending", 2, "interrupted"),
        (2, "coalesced", 1, "coalesced into task 1"),
    ]
    assert look(store, "SELECT DISTINCT task_id FROM clm_inbox") == [(1,)]
    assert queue.claim(NOW).attempts == 2


def test_a_batch_that_breaks_leaves_neither_inbox_rows_nor_tasks(queue, store):
    """An entry in the inbox without its task would be a request that is acknowledged and lost."""
    poison = replace(WISH, model="b", reason=None)
    with pytest.raises(DataError, match=r"STORE_CONSTRAINT"):
        queue.accept([(delivery("1-0"), WISH), (delivery("2-0"), poison)], NOW)
    assert look(store, "SELECT count(*) FROM clm_inbox") == [(0,)]
    assert look(store, "SELECT count(*) FROM clm_tasks") == [(0,)]
    assert look(store, "SELECT count(*) FROM training_tasks") == [(0,)]


CLAIM = """
import sys
from pathlib import Path
from clm.clock import SystemClock
from clm.store.tasks import SqliteTaskQueue
queue = SqliteTaskQueue(Path(sys.argv[1]), SystemClock())
sys.stdin.readline()
while (task := queue.claim(SystemClock().now())) is not None:
    print(task.task_id, flush=True)
"""


def test_processes_that_claim_at_once_never_get_the_same_task(queue, store):
    """Two trainings of one request would fight over the promotion."""
    ids = [queue.submit(replace(WISH, model=f"m{n}"), NOW) for n in range(25)]
    claimers = [child(CLAIM, store) for _ in range(3)]
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    claimed = [int(line) for claimer in claimers for line in claimer.communicate()[0].split()]
    assert sorted(claimed) == ids


def test_the_neighbours_task_follows_ours(queue, store):
    """Programs that read training_tasks see the same facts."""
    request = replace(WISH, details={"symbols": "BTCUSDT,ETHUSDT", "limit": "500"})
    queue.submit(request, NOW)
    row = 'SELECT symbols, "limit", status, created_at, completed_at FROM training_tasks'
    assert look(store, row) == [("BTCUSDT,ETHUSDT", 500, "pending", "2026-01-02 03:04:05.000000", None)]
    (details,) = look(store, "SELECT details FROM training_tasks")[0]
    assert json.loads(details)["requested_by"] == "monitor"
    queue.claim(NOW)
    assert look(store, row)[0][2] == "running"
    queue.fail(1, NOW + timedelta(hours=1), "CHILD_OOM")
    assert look(store, row)[0][2:] == ("failed", "2026-01-02 03:04:05.000000", "2026-01-02 04:04:05.000000")


@pytest.mark.parametrize("limit", ["", "-1", "many", "9" * 40, "٣"])
def test_a_strangers_limit_is_never_a_surprise(queue, store, limit):
    """The column requires a number; any other value means no limit."""
    queue.submit(replace(WISH, details={"limit": limit}), NOW)
    assert look(store, 'SELECT symbols, "limit" FROM training_tasks') == [("ALL", 0)]


def test_the_queue_works_beside_a_neighbour_without_columns(queue, store):
    """The existing store's training_tasks is a bare id."""
    change(store, "DROP TABLE training_tasks", "CREATE TABLE training_tasks (id INTEGER PRIMARY KEY)")
    queue.submit(WISH, NOW)
    queue.complete(queue.claim(NOW).task_id, NOW, "KEEP")
    assert look(store, "SELECT count(*) FROM training_tasks") == [(0,)]
    assert look(store, "SELECT status, outcome FROM clm_tasks") == [("completed", "KEEP")]


def test_a16_what_a_crash_left_running_is_put_in_order(queue, journal, outbox, store):
    """The run is interrupted and an event is stored; its task is pending again, with the attempt counted."""
    queue.submit(WISH, NOW)
    task = queue.claim(NOW)
    journal.start_run(run_start(task=task, trigger_reason="drift"), [started(job_id="p07_1")])
    later = NOW + timedelta(hours=1)
    assert queue.recover(later) == ["p07_1"]
    run = journal.run("p07_1")
    assert (run.status, run.completed_at) == (RunStatus.INTERRUPTED, later)
    assert run.reason.startswith("INTERRUPTED: ")
    row = outbox.unpublished(10)[-1]
    assert row.event_type == "learning.retraining.failed"
    assert json.loads(row.payload_json)["code"] == "INTERRUPTED"
    assert json.loads(row.payload_json)["job_id"] == "p07_1"
    assert look(store, "SELECT status, completed_at FROM model_training_runs") == [
        ("failed", "2026-01-02 04:04:05.000000")
    ]
    again = queue.claim(later)
    assert (again.task_id, again.attempts) == (task.task_id, 2)
    queue.release(again.task_id, later, "")
    assert queue.recover(later) == []
    assert outbox.waiting_count() == 2


def test_a16_a_run_whose_promotion_was_committed_is_completed_not_interrupted(
    queue, journal, promotions, outbox, store
):
    """The engine serves its model: calling the run failed and training again would be wrong."""
    queue.submit(WISH, NOW)
    task = queue.claim(NOW)
    journal.start_run(run_start(task=task, trigger_reason="drift"), [])
    journal.append_model(artefact(run_id="p07_1"), training_samples=9, seconds=1.0, validation_accuracy=None)
    promotion = prepared(promotions, run_id="p07_1")
    promotions.advance(promotion.promotion_id, PromotionState.COMMITTED)
    assert queue.recover(NOW + timedelta(seconds=90)) == []
    run = journal.run("p07_1")
    assert (run.status, run.decision, run.version) == (RunStatus.COMPLETED, "PROMOTE", promotion.version)
    assert queue.pending_count() == 0
    assert look(store, "SELECT status FROM clm_tasks") == [("completed",)]
    (row,) = outbox.unpublished(10)
    told = json.loads(row.payload_json)
    assert (row.event_type, told["status"], told["duration_seconds"]) == (
        "learning.retraining.completed",
        "promoted",
        90.0,
    )
    assert told["model_path"] == str(promotion.candidate_path)


DOINGS = st.lists(
    st.sampled_from(["accept", "again", "submit", "claim", "complete", "release", "fail", "recover"]),
    max_size=25,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=DOINGS, seed=st.integers(0, 2**32))
def test_whatever_happens_every_accepted_wish_has_exactly_one_task(store, doings, seed):
    """I-9: nothing is lost, nothing doubled, at most one task waits for a model."""
    change(store, *(f"DELETE FROM {table}" for table in ("clm_tasks", "clm_inbox", "training_tasks")))
    queue, rng, seen, requests = SqliteTaskQueue(store, SystemClock()), random.Random(seed), [], 0
    running: list[int] = []
    for doing in doings:
        if doing == "accept":
            seen.append(delivery(f"{len(seen)}-0"))
            queue.accept([(seen[-1], WISH)], NOW)
            requests += 1
        elif doing == "again" and seen:
            queue.accept([(rng.choice(seen), WISH)], NOW)
        elif doing == "submit":
            queue.submit(WISH, NOW)
            requests += 1
        elif doing == "claim":
            task = queue.claim(NOW)
            running += [task.task_id] if task else []
        elif doing == "recover":
            queue.recover(NOW)
            running.clear()
        elif doing in ("complete", "release", "fail") and running:
            getattr(queue, doing)(running.pop(rng.randrange(len(running))), NOW, "x")
        assert look(store, "SELECT count(*) FROM clm_tasks WHERE status = 'pending'")[0][0] <= 1
        assert look(store, "SELECT count(*) FROM clm_tasks WHERE status = 'running'") == [(len(running),)]
    kept = look(store, "SELECT coalesce(sum(triggers), 0) FROM clm_tasks WHERE status != 'coalesced'")
    assert kept == [(requests,)]
    assert look(store, "SELECT count(*) FROM clm_inbox") == [(len(seen),)]
    orphans = "SELECT count(*) FROM clm_inbox i LEFT JOIN clm_tasks t ON t.id = i.task_id WHERE t.id IS NULL"
    assert look(store, orphans) == [(0,)]
    assert look(store, "SELECT count(*) FROM clm_tasks") == look(store, "SELECT count(*) FROM training_tasks")


def test_events_of_a_promotion_are_not_mistaken_for_those_of_a_task():
    """The wire name is what readers subscribe to."""
    assert ModelPromoted.event_type == "model.promoted"
    assert Trigger(model="m", reason="", requested_by="", source="").dedupe_key == "m"
