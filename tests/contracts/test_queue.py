"""The rules of ports.TaskQueue, for the store's queue and for the one in memory."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from clm.domain.task import Delivery, Task
from clm.errors import DataError
from clm.ports import TaskQueue
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.tasks import SqliteTaskQueue
from tests.builders import NOW
from tests.fakes import FakeClock
from tests.memory_store import MemoryQueue
from tests.store.conftest import WISH

BY_A_PERSON = replace(WISH, reason="look at it", requested_by="ops", source="cli")


def in_memory(_directory: Path) -> TaskQueue:
    return MemoryQueue()


def in_the_store(directory: Path) -> TaskQueue:
    path = directory / "store.db"
    create_store(path)
    migrate(path)
    return SqliteTaskQueue(path, FakeClock())


@pytest.fixture(params=[in_memory, in_the_store], ids=["fake", "sqlite"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> TaskQueue:
    made: TaskQueue = request.param(tmp_path)
    return made


def delivery(entry_id: str = "1-0", sha: str = "a" * 64) -> Delivery:
    return Delivery(stream="quantum:stream:model.retrain", entry_id=entry_id, payload_sha256=sha)


def claimed(queue: TaskQueue, *, only_a_persons: bool = False) -> Task:
    task = queue.claim(NOW, only_a_persons=only_a_persons)
    assert task is not None
    return task


def test_a_claimed_task_is_what_was_submitted(queue: TaskQueue) -> None:
    """Every field comes back, unknown ones included, and a task is claimed once."""
    wish = replace(WISH, details={"learning_rate": "0.001", "odd": "ü\n\x1b[31m"})
    task_id = queue.submit(wish, NOW)
    task = queue.claim(NOW + timedelta(seconds=1))
    assert task == Task(task_id=task_id, trigger=wish, attempts=1, created_at=NOW)
    assert queue.claim(NOW) is None


def test_an_accepted_delivery_is_a_pending_task(queue: TaskQueue) -> None:
    """The caller acknowledges the entry after this."""
    assert queue.accept([], NOW) == []
    assert queue.pending_count() == 0
    (task_id,) = queue.accept([(delivery(), WISH)], NOW)
    assert queue.pending_count() == 1
    assert claimed(queue).task_id == task_id


def test_a_delivery_seen_before_adds_nothing(queue: TaskQueue) -> None:
    """The bus delivers again what it saw no acknowledgement of, also after the task has ended."""
    (task_id,) = queue.accept([(delivery(), WISH)], NOW)
    assert queue.accept([(delivery(), WISH), (delivery(), WISH)], NOW) == [task_id, task_id]
    queue.complete(claimed(queue).task_id, NOW, "REJECT")
    assert queue.accept([(delivery(), WISH)], NOW) == [task_id]
    assert queue.pending_count() == 0


@pytest.mark.parametrize(
    "other",
    [
        delivery(sha="b" * 64),
        delivery("2-0"),
        replace(delivery(), stream="quantum:stream:manual.retrain_request"),
    ],
    ids=["payload", "entry", "stream"],
)
def test_a_delivery_is_known_by_stream_entry_and_payload(queue: TaskQueue, other: Delivery) -> None:
    """Two streams use the same ids, and a restored stream gives its ids out again."""
    (first,) = queue.accept([(delivery(), WISH)], NOW)
    queue.complete(claimed(queue).task_id, NOW, "REJECT")
    (second,) = queue.accept([(other, WISH)], NOW)
    assert second != first
    assert queue.pending_count() == 1


def test_many_wishes_for_one_model_are_one_pending_task(queue: TaskQueue) -> None:
    """A storm of triggers costs one training; the first one says what is wanted."""
    batch = [(delivery(f"{n}-0"), replace(WISH, reason=f"r{n}")) for n in range(1200)]
    task_ids = queue.accept(batch, NOW)
    assert len(task_ids) == 1200
    assert {*task_ids, queue.submit(WISH, NOW)} == {task_ids[0]}
    assert queue.pending_count() == 1
    assert claimed(queue).trigger.reason == "r0"


def test_a_wish_during_a_run_is_a_task_of_its_own(queue: TaskQueue) -> None:
    """It may ask for rows that the run has not read."""
    first = queue.submit(WISH, NOW)
    claimed(queue)
    second = queue.submit(WISH, NOW)
    assert second != first
    assert queue.submit(WISH, NOW) == second
    queue.complete(first, NOW, "KEEP")
    assert claimed(queue).task_id == second


def test_a_buried_delivery_is_never_a_task_and_a_task_is_never_buried(queue: TaskQueue) -> None:
    """What was decided first about a delivery stands."""
    queue.bury([(delivery(), "not JSON")], NOW)
    (task_id,) = queue.accept([(delivery(), WISH), (delivery("2-0"), WISH)], NOW)
    queue.bury([(delivery("2-0"), "another opinion")], NOW)
    assert queue.accept([(delivery("2-0"), WISH)], NOW) == [task_id]
    assert queue.pending_count() == 1


def test_tasks_of_several_models_are_claimed_in_their_order(queue: TaskQueue) -> None:
    """First come, first served."""
    ids = [queue.submit(replace(WISH, model=model), NOW) for model in ("b", "a", "c")]
    assert [claimed(queue).task_id for _ in ids] == ids


def test_the_words_of_a_person_replace_those_of_the_task_that_waits(queue: TaskQueue) -> None:
    """A person does not wait for the pacing of automatic triggers, joined or not."""
    task_id = queue.submit(replace(WISH, details={"limit": "5"}), NOW)
    assert queue.claim(NOW, only_a_persons=True) is None
    assert queue.submit(BY_A_PERSON, NOW) == task_id
    queue.submit(WISH, NOW)
    task = claimed(queue, only_a_persons=True)
    assert task.trigger == replace(BY_A_PERSON, details={"limit": "5"})


@pytest.mark.parametrize("first", [0, 1])
def test_a_person_in_the_middle_of_a_batch_is_heard(queue: TaskQueue, first: int) -> None:
    """One reading of the streams brings automatic and manual triggers together, in any order."""
    by_hand = replace(BY_A_PERSON, source="redis:quantum:stream:manual.retrain_request")
    batch = [(delivery("1-0"), WISH), (delivery("2-0"), by_hand)]
    queue.accept([batch[first], batch[1 - first]], NOW)
    assert claimed(queue, only_a_persons=True).trigger == by_hand


def test_only_a_persons_claim_passes_over_older_automatic_tasks(queue: TaskQueue) -> None:
    """The older task stays pending."""
    older = queue.submit(replace(WISH, model="a"), NOW)
    theirs = queue.submit(replace(BY_A_PERSON, model="b"), NOW)
    assert claimed(queue, only_a_persons=True).task_id == theirs
    assert claimed(queue).task_id == older


def test_a_released_task_waits_again_with_its_attempt_counted(queue: TaskQueue) -> None:
    """A task that breaks each time is given up by this count."""
    task_id = queue.submit(WISH, NOW)
    for attempt in (1, 2, 3):
        task = claimed(queue)
        assert (task.task_id, task.attempts, task.created_at) == (task_id, attempt, NOW)
        queue.release(task_id, NOW + timedelta(hours=1), "CHILD_KILLED")
    assert queue.pending_count() == 1


def test_an_attempt_that_is_not_counted_is_given_back(queue: TaskQueue) -> None:
    """An orderly stop is not the fault of the task."""
    queue.submit(WISH, NOW)
    for _ in range(3):
        task = claimed(queue)
        assert task.attempts == 1
        queue.release(task.task_id, NOW, "stopped", counted=False)


def test_a_released_task_takes_in_the_one_that_came_meanwhile(queue: TaskQueue) -> None:
    """One pending task for each model: the older one stays, with its attempts and both deliveries."""
    (older,) = queue.accept([(delivery("1-0"), WISH)], NOW)
    claimed(queue)
    (newer,) = queue.accept([(delivery("2-0"), WISH)], NOW)
    queue.release(older, NOW, "interrupted")
    assert queue.pending_count() == 1
    assert queue.accept([(delivery("2-0"), WISH)], NOW) == [older]
    task = claimed(queue)
    assert (task.task_id, task.attempts) == (older, 2)
    with pytest.raises(DataError, match="TASK_NOT_RUNNING"):
        queue.complete(newer, NOW, "KEEP")


@pytest.mark.parametrize("end", ["complete", "release", "fail"])
def test_only_a_running_task_can_be_closed_or_put_back(queue: TaskQueue, end: str) -> None:
    """A process that lost its task must learn of it."""
    task_id = queue.submit(WISH, NOW)
    for wrong, state in ((task_id, "pending"), (99, "unknown")):
        with pytest.raises(DataError, match=rf"TASK_NOT_RUNNING: task {wrong} .*is {state}"):
            getattr(queue, end)(wrong, NOW, "x")
    claimed(queue)
    getattr(queue, end)(task_id, NOW, "x")
    with pytest.raises(DataError, match="TASK_NOT_RUNNING"):
        getattr(queue, end)(task_id, NOW, "x")
    assert queue.pending_count() == (1 if end == "release" else 0)


def test_a_start_puts_running_tasks_back_and_counts_their_attempts(queue: TaskQueue) -> None:
    """A task that kills the daemon each time must reach the limit of attempts."""
    task_id = queue.submit(WISH, NOW)
    done = queue.submit(replace(WISH, model="done"), NOW)
    claimed(queue)
    queue.complete(claimed(queue).task_id, NOW, "KEEP")
    assert queue.recover(NOW) == []
    assert queue.pending_count() == 1
    task = claimed(queue)
    assert (task.task_id, task.attempts) == (task_id, 2)
    assert done != task_id
    queue.submit(WISH, NOW)
    queue.recover(NOW)
    assert queue.pending_count() == 1, "the one that came meanwhile has joined"


def test_old_deliveries_are_forgotten_unless_redis_can_deliver_them_again(queue: TaskQueue) -> None:
    """A forgotten delivery that comes again makes a second task."""
    stream = delivery().stream
    for n in range(1, 9):
        queue.accept([(delivery(f"{n * 100}-0"), WISH)], NOW + timedelta(days=n))
    until = NOW + timedelta(days=6, hours=1)
    assert queue.forget_deliveries(stream, before_ms=400, until=until, keep=6) == 2, "all but the newest six"
    assert queue.forget_deliveries(stream, before_ms=400, until=until, keep=0) == 1, "ids from 400 on stay"
    assert queue.forget_deliveries(stream, before_ms=None, until=until, keep=1) == 3, "newer ones stay"
    assert queue.forget_deliveries("another", before_ms=None, until=until, keep=0) == 0
    queue.fail(claimed(queue).task_id, NOW, "done")
    queue.accept([(delivery("700-0"), WISH), (delivery("800-0"), WISH)], NOW)
    assert queue.pending_count() == 0, "still known"
