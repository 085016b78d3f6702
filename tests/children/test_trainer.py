"""The parent's side of a training, with real child processes: the worker itself, or a script in its place."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clm.artefacts.records import encode_line
from clm.children import process as process_module
from clm.children.ask import SubprocessAsker
from clm.children.process import cgroup_oom_kills
from clm.children.trainer import SubprocessTrainer
from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingResult
from clm.errors import Interrupted, TrainingError
from clm.questions.train import Resumed, TrainProgress
from tests.builders import training_spec
from tests.children.processes import children, eventually, is_running, script
from tests.training import jobs

PROGRESS, MODEL, ANSWER, ARRAYS = "train.progress.jsonl", "model.pth", "train.answer.json", "train.answer.npz"
LONG = training_spec(batch_size=32, epochs=1000, patience=1000)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return jobs.dataset()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the job goes; not there yet."""
    return tmp_path / "runs" / "job"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """However a training ends, no child and no zombie of ours remains."""
    before = children()
    yield
    assert children() - before == set()


def epoch(number: int) -> str:
    """A line of progress as a shell word."""
    report = EpochReport(
        epoch=number,
        epochs=20,
        train_loss=0.69,
        validation_log_loss=0.69,
        validation_auroc=0.5,
        validation_p_win_std=0.0,
        seconds=0.1,
        best=True,
    )
    return f"'{encode_line(TrainProgress(news=report)).decode().strip()}'"


def train(
    directory: Path,
    dataset: Dataset,
    *,
    python: Path | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    stop: threading.Event | None = None,
    timeout_s: float = 120.0,
    epochs: int = 20,
    oom_kills: Callable[[], int | None] = lambda: None,
    spec: object = None,
    **settings: object,
) -> TrainingResult:
    asking = {name: settings.pop(name) for name in ("grace_s", "environment") if name in settings}
    asker = SubprocessAsker(python=python, oom_kills=oom_kills, **{"grace_s": 5.0, **asking})
    trainer = SubprocessTrainer(asker, **settings)
    job = jobs.job(
        directory, of=dataset, timeout_s=timeout_s, spec=spec or training_spec(batch_size=64, epochs=epochs)
    )
    return trainer.train(job, dataset, on_epoch, stop or threading.Event())


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, dataset: Dataset
) -> tuple[Path, TrainingResult, list[EpochReport]]:
    """A successful training: its directory, its result and its reports, for scripts to copy."""
    directory, told = tmp_path_factory.mktemp("finished"), list[EpochReport]()
    spec = training_spec(batch_size=64, epochs=2)
    return directory, train(directory, dataset, on_epoch=told.append, spec=spec), told


@pytest.fixture
def answer(finished: tuple[Path, TrainingResult, list[EpochReport]]) -> Path:
    """The directory of a sound answer."""
    return finished[0]


def give(answer: Path) -> str:
    """Return the shell command that answers with a copy."""
    return f"cp {answer}/{{{PROGRESS},{MODEL},{ANSWER},{ARRAYS}}} $5"


def test_a_training_comes_back_checked_with_every_epoch_told(
    finished: tuple[Path, TrainingResult, list[EpochReport]], dataset: Dataset
) -> None:
    """The whole way: files, child, progress, file, predictions."""
    _, result, told = finished
    assert tuple(told) == result.epochs
    assert len(told) == 2
    assert len(result.p_candidate_N) == len(dataset.split.test)
    assert result.n_parameters == 612_481
    assert result.champion_absent_because == "the engine's environment file names no model"
    assert result.notes["threads"] == 1


def test_e1_a_killed_child_is_told_with_signal_and_epoch(directory: Path, dataset: Dataset) -> None:
    """kill -9 of the child fails the run; the daemon and the caller live on."""

    def kill(report: EpochReport) -> None:
        if report.epoch == 3:
            for pid in children():
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(
        TrainingError, match=r"killed by SIGKILL \(signal 9\), after epoch \d+ of 1000"
    ) as caught:
        train(directory, dataset, on_epoch=kill, spec=LONG)
    assert (caught.value.code, caught.value.exit_code) == ("CHILD_KILLED", 70)


def test_e2_the_kernels_counter_is_read_from_both_generations_of_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 keeps it in memory.events, version 1 in memory.oom_control."""
    monkeypatch.setattr(process_module, "CGROUPS", tmp_path)
    proc = tmp_path / "cgroup"
    monkeypatch.setattr(process_module, "OWN_CGROUP", proc)
    proc.write_text("0::/system.slice/clm.service\n")
    assert cgroup_oom_kills() is None
    (tmp_path / "system.slice/clm.service").mkdir(parents=True)
    (tmp_path / "system.slice/clm.service/memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert cgroup_oom_kills() == 2
    proc.write_text("8:pids:/\n5:memory:/box\n0::/\n")
    (tmp_path / "memory/box").mkdir(parents=True)
    (tmp_path / "memory/box/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n")
    assert cgroup_oom_kills() == 7


def test_e3_memory_that_is_refused_is_told_with_the_figure(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """Under RLIMIT_AS nothing is killed: an allocation fails in the middle of torch."""
    limited = (
        "import resource, sys; from clm.training import train; from clm.training.__main__ import main; "
        "pages = int(open('/proc/self/statm').read().split()[0]); "
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**24,) * 2); "
        "sys.exit(main(sys.argv[1:]))"
    )
    with pytest.raises(TrainingError, match=r"out of memory \(peak \d+ MiB.*limit \d+ MiB") as caught:
        train(directory, dataset, python=script(tmp_path, f'exec {sys.executable} -c "{limited}" $4 $5 $6'))
    assert caught.value.code == "CHILD_OOM"


def test_e4_a_training_that_is_ended_reports_how_far_it_came(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """An operator who raises the limit wants to know by how much."""
    with pytest.raises(
        TrainingError, match=r"ended after 0\.7 s, before epoch 1 of 20 was done.*CLM_LIMITS__WALL_S"
    ) as caught:
        train(directory, dataset, python=script(tmp_path, "exec sleep 60"), timeout_s=0.7)
    assert caught.value.code == "CHILD_TIMEOUT"


def test_e5_a_child_that_falls_silent_is_ended(tmp_path: Path, directory: Path, dataset: Dataset) -> None:
    """One epoch that takes for ever would otherwise hold the daemon until the wall-clock limit."""
    body = f"echo {epoch(1)} > $5/{PROGRESS}; exec sleep 300"
    with pytest.raises(TrainingError, match=r"0\.6 s without progress, after epoch 1 of 20") as caught:
        train(directory, dataset, python=script(tmp_path, body), silence_s=0.6)
    assert caught.value.code == "CHILD_TIMEOUT"


def test_e5_every_epoch_is_a_word(tmp_path: Path, directory: Path, dataset: Dataset) -> None:
    """A long training that goes on telling must not be taken for a silent one."""
    says = "; ".join(f"sleep 0.5; echo {epoch(number)} >> $5/{PROGRESS}" for number in range(1, 5))
    with pytest.raises(TrainingError, match="exit code 3 after epoch 4") as caught:
        train(directory, dataset, python=script(tmp_path, f"{says}; exit 3"), silence_s=1.2)
    assert caught.value.code == "CHILD_FAILED"


def test_e6_a_child_that_floods_its_output_still_answers(
    tmp_path: Path, directory: Path, dataset: Dataset, answer: Path
) -> None:
    """A full pipe of 64 KiB would block the child forever."""
    flood = script(tmp_path, f"head -c 5000000 /dev/zero | tee /dev/stderr; {give(answer)}")
    assert len(train(directory, dataset, python=flood).epochs) == 2
    assert (directory / "train.stdout.log").stat().st_size >= 5_000_000
    assert (directory / "train.stderr.log").stat().st_size >= 5_000_000


def test_e7_the_child_dies_with_a_killed_parent(tmp_path: Path, directory: Path) -> None:
    """After kill -9, the parent cannot stop its child; an orphan would train for hours."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import threading; from pathlib import Path; from tests.children import test_trainer as t;"
            f"t.train(Path({str(directory)!r}), t.jobs.dataset(), spec=t.LONG)",
        ],
        cwd=Path(__file__).parents[2],
    )
    try:
        assert eventually(
            lambda: (directory / PROGRESS).exists() and (directory / PROGRESS).stat().st_size > 0, 60
        )
        (worker,) = children(parent.pid)
        assert is_running(worker)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_running(worker))


def test_e9_a_loss_that_is_not_finite_has_its_own_code(directory: Path, dataset: Dataset) -> None:
    """Exploding weights: no retry with the same settings can help."""
    with pytest.raises(
        TrainingError, match="before epoch 1 of 3 was done: the training loss at step"
    ) as caught:
        train(directory, dataset, spec=training_spec(batch_size=32, epochs=3, learning_rate=1e38))
    assert caught.value.code == "NAN_LOSS"


def test_e11_a_stop_ends_the_child_at_once(directory: Path, dataset: Dataset) -> None:
    """The daemon has 90 seconds to end, and the engine wants its CPU back."""
    stop = threading.Event()
    told: list[float] = []

    def ask(report: EpochReport) -> None:
        stop.set()
        told.append(time.monotonic())

    with pytest.raises(Interrupted, match=r"stopped after epoch \d+ of 1000"):
        train(directory, dataset, on_epoch=ask, stop=stop, spec=LONG)
    assert time.monotonic() - told[0] < 3


def test_e12_a_count_that_is_to_be_measured_is_left_to_the_child(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """OMP_NUM_THREADS=0 is no count, and 1 would hide the other cores from the measurement."""
    with pytest.raises(TrainingError):
        train(
            directory,
            dataset,
            python=script(tmp_path, f"env > {tmp_path}/env; exit 3"),
            spec=training_spec(threads=0),
        )
    assert "OMP_NUM_THREADS" not in (tmp_path / "env").read_text()


def test_a_training_that_was_stopped_goes_on_where_it_stood(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """After a clean stop, the next run gives the file of an undisturbed one and reports no epoch twice."""
    spec = training_spec(batch_size=64, epochs=4, patience=4)
    stop, first, second = threading.Event(), list[EpochReport](), list[EpochReport]()

    def ask(report: EpochReport) -> None:
        first.append(report)
        if report.epoch == 2:
            stop.set()

    with pytest.raises(Interrupted):
        train(directory, dataset, on_epoch=ask, stop=stop, spec=spec, checkpoints=tmp_path / "kept")
    again = tmp_path / "again"
    resumed = train(again, dataset, on_epoch=second.append, spec=spec, checkpoints=tmp_path / "kept")
    told = [report.epoch for report in first + second]
    assert told == sorted(set(told))
    assert [report.epoch for report in resumed.epochs] == [1, 2, 3, 4]
    assert resumed.notes["checkpoints"] == {"network": f"resumed after epoch {4 - len(second)}"}
    assert list((tmp_path / "kept").iterdir()) == []
    whole = train(tmp_path / "whole", dataset, spec=spec)
    assert resumed.file_sha256 == whole.file_sha256


def test_other_data_begin_anew(tmp_path: Path, directory: Path, dataset: Dataset) -> None:
    """What was learnt from other rows has no place in this network; its checkpoint is left alone."""
    spec, stop = training_spec(batch_size=64, epochs=3), threading.Event()
    kept = tmp_path / "kept"
    with pytest.raises(Interrupted):
        train(directory, dataset, on_epoch=lambda _: stop.set(), stop=stop, spec=spec, checkpoints=kept)
    other = jobs.dataset(seed=5)
    result = train(tmp_path / "other", other, spec=training_spec(batch_size=64, epochs=1), checkpoints=kept)
    assert "checkpoints" not in result.notes
    assert len(list(kept.iterdir())) == 1


def test_e1_a_resumed_child_that_is_killed_is_told_with_its_real_epoch(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """The epoch number includes those of an earlier process, which are not reported again."""
    told: list[EpochReport] = []
    line = encode_line(TrainProgress(news=Resumed(epoch=7))).decode().strip()
    body = f"echo '{line}' > $5/{PROGRESS}; kill -9 $$"
    with pytest.raises(TrainingError, match="after epoch 7 of 20"):
        train(directory, dataset, python=script(tmp_path, body), on_epoch=told.append)
    assert told == []


def test_e4_a_child_that_used_up_its_processor_time_is_told_apart(directory: Path, dataset: Dataset) -> None:
    """Wall time says nothing of work where neighbours take the cores: SIGXCPU is a limit, not a crash."""
    with pytest.raises(
        TrainingError, match=r"after 9 s of processor time, after epoch \d+ of 1000; raise CLM_LIMITS__CPU_S"
    ) as caught:
        train(directory, dataset, spec=LONG, cpu_s=9.0)
    assert caught.value.code == "CHILD_TIMEOUT"


def test_e3_a_child_gets_no_more_memory_than_its_budget(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """The estimate lets it begin; what it then takes beyond the budget fails in it, not in the engine."""
    hungry = (
        "import sys; from clm.training import train as run; from clm.training.__main__ import main; "
        "run.scaled_windows = lambda *a, **k: bytearray(10**9); sys.exit(main(sys.argv[1:]))"
    )
    with pytest.raises(
        TrainingError, match=r"out of memory.*limit 763 MiB of data.*CLM_LIMITS__MEMORY_MB"
    ) as caught:
        train(
            directory,
            dataset,
            python=script(tmp_path, f'exec {sys.executable} -c "{hungry}" $4 $5 $6'),
            memory_mb=800,
        )
    assert caught.value.code == "CHILD_OOM"


def test_a_training_beyond_its_budget_is_refused_before_it_starts(directory: Path, dataset: Dataset) -> None:
    """Ten minutes of training that end in an OOM kill are wasted."""
    with pytest.raises(TrainingError, match=r"needs about 6\d\d MB.*CLM_HISTORY_DAYS") as caught:
        train(directory, dataset, memory_mb=600)
    assert (caught.value.code, caught.value.exit_code) == ("MEMORY_BUDGET", 78)
    assert not directory.exists()


def test_a_gpu_that_is_not_there_is_named(directory: Path, dataset: Dataset) -> None:
    """A training that silently takes the processor instead is not what somebody asked for."""
    with pytest.raises(
        TrainingError, match=r"CLM_TRAINING__DEVICE=cuda, but torch .* finds no usable GPU"
    ) as caught:
        train(
            directory,
            dataset,
            spec=training_spec(device="cuda"),
            environment={"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": ""},
        )
    assert (caught.value.code, caught.value.exit_code) == ("DEVICE_ABSENT", 78)


def test_an_honest_copy_is_believed(tmp_path: Path, directory: Path, dataset: Dataset, answer: Path) -> None:
    """The control of the test below: it is the lie that is refused."""
    assert train(directory, dataset, python=script(tmp_path, give(answer))).n_parameters == 612_481


@pytest.mark.parametrize(
    "lie",
    [
        f"printf x >> $5/{MODEL}",
        f"rm $5/{ANSWER}",
        f"truncate -s 1000 $5/{ARRAYS}",
        f"cp too_many.npz $5/{ARRAYS}",
    ],
    ids=["another-file", "no-result", "torn-predictions", "too-many-predictions"],
)
def test_e13_a_child_that_ends_well_with_a_false_answer_is_not_believed(
    tmp_path: Path, directory: Path, dataset: Dataset, answer: Path, lie: str
) -> None:
    """Exit code 0 is a claim; the parent hashes the file and looks at every prediction."""
    np.savez(tmp_path / "too_many.npz", p_candidate_N=np.full(999, 0.5), p_logistic_N=np.full(999, 0.5))
    python = script(tmp_path, f"{give(answer)}; cd {tmp_path}; {lie}")
    with pytest.raises(TrainingError) as caught:
        train(directory, dataset, python=python)
    assert caught.value.code == "RESULT_INVALID"


def test_e13_progress_that_is_no_report_is_refused(tmp_path: Path, directory: Path, dataset: Dataset) -> None:
    """Figures that an operator sees come from a parser, not from whatever was written."""
    body = f'echo \'{{"epoch": "many"}}\' > $5/{PROGRESS}; exec sleep 300'
    with pytest.raises(TrainingError, match="no report of an epoch") as caught:
        train(directory, dataset, python=script(tmp_path, body))
    assert caught.value.code == "RESULT_INVALID"


def test_a_line_that_is_not_whole_yet_is_waited_for(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """The tail reads while the child writes."""
    told: list[EpochReport] = []
    line = epoch(1)
    body = (
        f"line={line}; printf '%s' \"${{line:0:40}}\" > $5/{PROGRESS}; sleep 0.5; "
        f"printf '%s\\n' \"${{line:40}}\" >> $5/{PROGRESS}; exit 3"
    )
    with pytest.raises(TrainingError, match="after epoch 1 of 20"):
        train(directory, dataset, python=script(tmp_path, body), on_epoch=told.append)
    assert [report.epoch for report in told] == [1]


def test_a_listener_that_breaks_does_not_leave_a_child(
    tmp_path: Path, directory: Path, dataset: Dataset
) -> None:
    """The child is ended in a finally, whatever goes wrong on our side."""

    def broken(report: EpochReport) -> None:
        raise ZeroDivisionError

    body = f"echo {epoch(1)} > $5/{PROGRESS}; exec sleep 300"
    with pytest.raises(ZeroDivisionError):
        train(directory, dataset, on_epoch=broken, python=script(tmp_path, body))
