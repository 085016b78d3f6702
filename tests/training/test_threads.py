"""The count of threads that is measured at the start."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clm.models.catalogue import Architecture, architecture
from clm.training import threads
from clm.training.threads import CLEAR_MARGIN, measured_threads, with_threads
from tests.builders import training_spec
from tests.training import jobs
from tests.training.jobs import write_job


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A measurement leaves the count of its last burst; the child sets the count itself."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


SPEC = training_spec(threads=0, batch_size=8)
ENGINE = architecture("engine")


@pytest.mark.parametrize(
    ("many_s", "chosen"),
    [(0.3, 4), (0.9 / CLEAR_MARGIN, 4), (0.95, 1), (1.0, 1), (50.0, 1)],
)
def test_all_cores_are_taken_only_where_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, many_s: float, chosen: int
) -> None:
    """One thread leaves the engine its core, and its sums are the same tomorrow."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr(threads, "_burst", lambda _spec, _chosen, count: 1.0 if count == 1 else many_s)
    count, figures = measured_threads(SPEC, ENGINE)
    assert count == chosen
    assert "with one thread" in figures
    assert "with 4" in figures


def test_a_burst_is_the_real_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured are the steps that will be taken."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1})
    count, figures = measured_threads(SPEC, ENGINE)
    assert count in (1, 2)
    assert "4 steps took" in figures


def test_one_core_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to choose."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(threads, "_burst", None)
    assert measured_threads(SPEC, ENGINE) == (1, "there is one core")


def test_what_is_measured_is_what_will_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of as many channels as the data have features; on a GPU there is nothing to measure."""
    spec = replace(SPEC, architecture="patchtst")
    of = jobs.job(tmp_path, of=jobs.dataset(n_windows=150), spec=spec)
    of = replace(of, feature_names=of.feature_names[:5])
    seen: list[Architecture] = []
    monkeypatch.setattr(threads, "measured_threads", lambda _, chosen: (seen.append(chosen), (1, "one"))[1])
    job, told = with_threads(of)
    assert [chosen.n_features for chosen in seen] == [5]
    assert (job.spec.threads, told) == (1, {"threads_measured": "one"})
    monkeypatch.setattr(threads, "device_of", lambda _: torch.device("cuda"))
    assert with_threads(of)[1] == {"threads_measured": "a GPU trains"}
    assert len(seen) == 1


def test_a_measurement_leaves_torchs_compiler_out_too(tmp_path: Path) -> None:
    """It comes before the training, which would leave it out too late."""
    write_job(jobs.job(tmp_path / "job", of=(data := jobs.dataset(n_windows=150)), spec=SPEC), data)
    program = (
        "import sys; from pathlib import Path; from clm.questions.train import read_training\n"
        "from clm.training.threads import with_threads\n"
        "with_threads(read_training(Path(sys.argv[1])).job)\n"
        "print(len([name for name in sys.modules if 'torch._dynamo' in name]))"
    )
    command = [sys.executable, "-c", program, tmp_path / "job"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) <= 1


def test_a_count_that_is_set_stays(tmp_path: Path) -> None:
    """The default is one, whatever the machine is like: the same seed gives the same weights."""
    of = jobs.job(tmp_path, of=jobs.dataset(n_windows=150), spec=replace(SPEC, threads=3))
    assert with_threads(of) == (of, {})
