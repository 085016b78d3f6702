"""Checkpoints: a training that was cut off anywhere goes on to the same bits; none is believed blindly."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingJob, TrainingResult, TrainingSpec
from clm.questions.question import Files, read_answer
from clm.questions.train import NAME, train_question
from clm.training import checkpoint as checkpoint_module
from clm.training import loop
from clm.training.checkpoint import SUFFIX, Checkpoint, checkpoints_of
from clm.training.loop import Fit, fit
from clm.training.train import train_job
from tests.builders import training_spec
from tests.training import jobs
from tests.training.jobs import read_job, write_job
from tests.training.test_loop import Linear, world

ROOT = Path(__file__).parents[2]


class CutOff(Exception):
    """The process is gone."""


class Dropping(Linear):
    """A network whose every step draws from torch's generator."""

    def forward(self, x_BLC: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x_BLC, 0.3, self.training))


def fitted(spec: TrainingSpec, checkpoint: Checkpoint | None = None, *, cut_after: int = -1) -> Fit:
    """Fit the small network; `cut_after` ends it after that epoch is reported."""

    def tell(report: EpochReport) -> None:
        if report.epoch == cut_after:
            raise CutOff

    torch.manual_seed(3)
    return fit(Dropping(), *world(), spec, tell, checkpoint)


def kept_in(path: Path, key: str = "key") -> Checkpoint:
    return Checkpoint(path, key, lambda epoch: None)


def without_seconds(reports: tuple[EpochReport, ...]) -> list[str]:
    """NaN is equal to itself as text."""
    return [repr({**asdict(report), "seconds": 0}) for report in reports]


@pytest.mark.parametrize("swa_from", [1.0, 0.4])
@pytest.mark.parametrize("cut_after", [1, 2, 3, 4, 5, 6])
def test_a_fit_that_was_cut_off_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_after: int, swa_from: float
) -> None:
    """Weights, optimiser, schedule, both generators, the queue of windows, the best epoch, the average."""
    monkeypatch.setattr(loop, "EPOCH_WINDOWS", 50)  # of 120: after most epochs some windows wait
    spec = training_spec(epochs=6, patience=6, batch_size=16, learning_rate=0.1, swa_from=swa_from)
    whole = fitted(spec)
    with pytest.raises(CutOff):
        fitted(spec, kept_in(tmp_path / "c"), cut_after=cut_after)
    again = kept_in(tmp_path / "c")
    resumed = fitted(spec, again)
    assert again.remark == f"resumed after epoch {cut_after}"
    assert torch.equal(resumed.state["layer.weight"], whole.state["layer.weight"])
    assert resumed.calibration == whole.calibration
    assert (resumed.best_epoch, resumed.stopped_because) == (whole.best_epoch, whole.stopped_because)
    assert without_seconds(resumed.epochs) == without_seconds(whole.epochs)


@pytest.mark.parametrize("cut_after", [0, 1])
def test_a_fit_that_began_as_a_regression_goes_on_too(tmp_path: Path, cut_after: int) -> None:
    """Its epoch 0 was judged and not trained: it is neither judged again nor taken for the first."""
    spec = training_spec(epochs=3, patience=3, batch_size=16, start="logistic")
    whole = fitted(spec)
    with pytest.raises(CutOff):
        fitted(spec, kept_in(tmp_path / "c"), cut_after=cut_after)
    resumed = fitted(spec, kept_in(tmp_path / "c"))
    assert without_seconds(resumed.epochs) == without_seconds(whole.epochs)
    assert torch.equal(resumed.state["layer.weight"], whole.state["layer.weight"])


def test_a_fit_that_ran_out_of_patience_does_not_go_on(tmp_path: Path) -> None:
    """A kill behind the last epoch must not buy it another one."""
    spec = training_spec(epochs=50, patience=2, batch_size=16, learning_rate=0.5)
    whole = fitted(spec, kept_in(tmp_path / "c"))
    assert len(whole.epochs) < 50
    resumed = fitted(spec, kept_in(tmp_path / "c"))
    assert (len(resumed.epochs), resumed.stopped_because) == (len(whole.epochs), whole.stopped_because)


def test_an_epoch_that_was_told_is_kept(tmp_path: Path) -> None:
    """A reader of "after epoch 3" can rely on it."""
    with pytest.raises(CutOff):
        fitted(training_spec(epochs=5, patience=5), kept_in(tmp_path / "c"), cut_after=3)
    document = kept_in(tmp_path / "c").load()
    assert document is not None
    assert len(document["story"]["reports"]) == 3  # type: ignore[index]


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def bent(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "remark"),
    [
        (torn, "a corrupt checkpoint was ignored"),
        (bent, "a corrupt checkpoint was ignored"),
        (lambda _: b"", "a corrupt checkpoint was ignored"),
        (
            lambda _: __import__("hashlib").sha256(b"no zip").digest() + b"no zip",
            "a file that is not a checkpoint",
        ),
    ],
    ids=["cut", "one-bit", "empty", "another-file"],
)
def test_a_damaged_checkpoint_is_ignored_and_said(
    tmp_path: Path, damage: Callable[[bytes], bytes], remark: str
) -> None:
    """torch alone loads most files with a flipped bit; a training on such weights looks sound."""
    spec = training_spec(epochs=3, patience=3, batch_size=16)
    whole = fitted(spec, kept_in(tmp_path / "c"))
    (tmp_path / "c").write_bytes(damage((tmp_path / "c").read_bytes()))
    again = kept_in(tmp_path / "c")
    assert again.load() is None
    assert again.remark.startswith(remark)
    assert torch.equal(fitted(spec, again).state["layer.weight"], whole.state["layer.weight"])


def test_a_checkpoint_of_another_training_is_ignored_and_said(tmp_path: Path) -> None:
    """A name is 16 digits of a key; the whole key stands in the file."""
    fitted(training_spec(epochs=2), kept_in(tmp_path / "c", "theirs"))
    other = kept_in(tmp_path / "c", "ours")
    assert other.load() is None
    assert other.remark == "a checkpoint of another training was ignored"


def test_a_disk_that_takes_no_checkpoint_ends_no_training(tmp_path: Path) -> None:
    """A training without checkpoints is worth more than none; the notes say that none was kept."""
    (tmp_path / "file").touch()
    checkpoint = kept_in(tmp_path / "file" / "c")
    assert len(fitted(training_spec(epochs=2), checkpoint).epochs) == 2
    assert checkpoint.remark.startswith("an epoch was not saved: ")


# The child as a process


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return jobs.dataset(n_windows=300)


SPEC = training_spec(batch_size=32, epochs=5, patience=5, swa_from=0.5)
BARE = [sys.executable, "-m", "clm.training", "train"]


def written(directory: Path, dataset: Dataset, checkpoints: Path, spec: TrainingSpec = SPEC) -> TrainingJob:
    job = replace(jobs.job(directory, of=dataset, spec=spec), checkpoints=checkpoints)
    write_job(job, dataset)
    return job


def begin(directory: Path, command: list[str] = BARE) -> subprocess.Popen[bytes]:
    with (directory / "err").open("ab") as words:
        return subprocess.Popen([*command, str(directory)], cwd=ROOT, stderr=words)


def finished(directory: Path, dataset: Dataset, command: list[str] = BARE) -> TrainingResult:
    child = begin(directory, command)
    assert child.wait(timeout=120) == 0, (directory / "err").read_text()
    job = jobs.read_job(directory)[0]
    return read_answer(train_question(job, dataset), directory)


def undisturbed(directory: Path, dataset: Dataset, spec: TrainingSpec) -> TrainingResult:
    written(directory, dataset, directory, spec)
    return train_job(*read_job(directory), lambda report: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> TrainingResult:
    """The result of the job without an interruption."""
    return undisturbed(tmp_path_factory.mktemp("whole"), dataset, SPEC)


@pytest.mark.slow
def test_e1_a_child_killed_at_random_moments_ends_with_the_weights_of_one_that_never_was(
    tmp_path: Path, dataset: Dataset, whole: TrainingResult
) -> None:
    """SIGKILL in the middle of an epoch, of a write, wherever it hits; each start in its own directory."""
    moments = random.Random(11)
    for attempt in range(3):
        directory = tmp_path / f"job-{attempt}"
        written(directory, dataset, tmp_path / "checkpoints")
        child = begin(directory)
        progress = Files(directory=directory, name=NAME).progress
        # Beyond the start, which takes most of the time and holds nothing to lose.
        while child.poll() is None and not (progress.exists() and progress.stat().st_size):
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not (Files(directory=directory, name=NAME).answer).exists(), (
            "the training was over before it was killed"
        )
    written(tmp_path / "last", dataset, tmp_path / "checkpoints")
    result = finished(tmp_path / "last", dataset)
    assert result.notes["checkpoints"]["network"].startswith("resumed after epoch ")  # type: ignore[index]
    assert result.weights_hash == whole.weights_hash
    assert result.file_sha256 == whole.file_sha256
    assert without_seconds(result.epochs) == without_seconds(whole.epochs)
    np.testing.assert_array_equal(result.p_candidate_N, whole.p_candidate_N)
    assert [path for path in (tmp_path / "checkpoints").iterdir() if path.suffix == SUFFIX] == []


def test_j1_a_full_disk_ends_no_training_and_is_said(
    tmp_path: Path, dataset: Dataset, whole: TrainingResult
) -> None:
    """The limit on the size of files takes the model of 2.5 MB and no checkpoint of 10 MB."""
    written(tmp_path / "job", dataset, tmp_path / "checkpoints")
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000)); "
        "from clm.training.__main__ import main; sys.exit(main(['train', *sys.argv[1:]]))"
    )
    result = finished(tmp_path / "job", dataset, [sys.executable, "-c", limited])
    said = result.notes["checkpoints"]["network"]  # type: ignore[index]
    assert said.startswith("an epoch was not saved: DISK_FULL")
    assert result.weights_hash == whole.weights_hash
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_an_ensemble_keeps_each_of_its_networks(tmp_path: Path) -> None:
    """What a teacher learnt before the kill is not learnt again, and the pupil's file is no teacher's."""
    small = jobs.dataset(n_windows=150)
    spec = training_spec(batch_size=64, epochs=2, ensemble=2, processes=1)
    written(tmp_path / "job", small, tmp_path / "checkpoints", spec)
    child = begin(tmp_path / "job")
    while child.poll() is None and len(list((tmp_path / "checkpoints").glob(f"*{SUFFIX}"))) < 2:
        time.sleep(0.005)
    child.kill()
    child.wait()
    kept = checkpoints_of(*read_job(tmp_path / "job"), lambda epoch: None)
    result = train_job(*read_job(tmp_path / "job"), lambda report: None, kept)
    assert result.notes["checkpoints"]["teacher-1"] == "resumed after epoch 2"  # type: ignore[index]
    assert result.weights_hash == undisturbed(tmp_path / "whole", small, spec).weights_hash


# The key


def test_everything_that_decides_the_weights_decides_the_key(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on with the epochs of another training gives a network that no seed gives again."""
    job = written(tmp_path / "job", dataset, tmp_path / "checkpoints")
    arrays = read_job(tmp_path / "job")[1]

    def name(of: TrainingJob = job, **changes: object) -> Path:
        kept = checkpoints_of(of, replace(arrays, **changes), lambda epoch: None)
        assert kept is not None
        return kept.of("network")._path

    plain = name()
    assert plain == name(replace(job, run_id="another run", timeout_s=1.0, memory_mb=5))
    others = [
        *(
            name(replace(job, spec=replace(SPEC, **change)))
            for change in ({"seed": 8}, {"threads": 2}, {"epochs": 6})
        ),
        name(replace(job, feature_names=tuple(reversed(job.feature_names)))),
        name(fingerprint="other data"),
    ]
    for target, value in (("code_hash", lambda: "other code"), ("torch", _other_torch())):
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint_module, target, value)
            others.append(name())
    assert len({plain, *others}) == 1 + len(others)


def _other_torch() -> object:
    class Other:
        __version__ = "0.0"
        backends = torch.backends

    return Other


def test_without_a_directory_nothing_is_kept(tmp_path: Path, dataset: Dataset) -> None:
    """A training by hand, the tries of the ladder, the measurements: none needs to go on."""
    job = written(tmp_path / "job", dataset, tmp_path)
    assert checkpoints_of(replace(job, checkpoints=None), read_job(tmp_path / "job")[1], print) is None


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Weights of a model that trades."""
    fitted(training_spec(epochs=1), kept_in(tmp_path / "kept" / "c"))
    assert (tmp_path / "kept" / "c").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
