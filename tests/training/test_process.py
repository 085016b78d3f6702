"""How the child behaves as a process, seen from a process that is one."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clm.questions.question import ChildExit
from clm.training import __main__ as child
from clm.training.process import keep_freed_memory, memory_figures, out_of_memory


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = f"import os, signal, time; from clm.training.process import become_disposable\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )


def test_the_child_gives_way_to_everybody_else() -> None:
    """Under memory pressure it goes first, and it never interrupts the engine: that is the batch class."""
    done = run(
        f"become_disposable({os.getpid()})\n"
        "print(open('/proc/self/oom_score_adj').read().strip(), os.sched_getscheduler(0) == os.SCHED_BATCH)"
    )
    assert done.stdout.split() == ["1000", "True"]


def test_the_child_is_no_nicer_than_others() -> None:
    """With two busy neighbours, niceness 10 slowed it by a factor of 11, niceness 19 by 64."""
    done = run("before = os.nice(0); become_disposable(None); print(os.nice(0) - before)")
    assert done.stdout.strip() == "0"


def test_limits_never_raise_what_somebody_set_lower() -> None:
    """A person's ulimit, or the unit's, stays in force; 0 is no limit of ours."""
    done = run(
        "import resource; from clm.training.process import limit\n"
        "kinds = (resource.RLIMIT_CPU, resource.RLIMIT_DATA)\n"
        "limit(cpu_s=0, memory_mb=0); print(*(resource.getrlimit(kind)[0] for kind in kinds))\n"
        "limit(cpu_s=20, memory_mb=300); print(*(resource.getrlimit(kind)[0] for kind in kinds))\n"
        "limit(cpu_s=30, memory_mb=200); print(*(resource.getrlimit(kind)[0] for kind in kinds))\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    assert done.stdout.split("\n")[:4] == ["-1 -1", "20 300000000", "20 200000000", "0"]


STEPS = (
    "import resource, sys, torch\n"
    "from clm.models.catalogue import architecture\n"
    "from clm.training.process import keep_freed_memory\n"
    "if sys.argv[1:]: keep_freed_memory()\n"
    "torch.set_num_threads(1)\n"
    "network = architecture('engine').build(0.1).train()\n"
    "def steps(number):\n"
    "    for _ in range(number):\n"
    "        network.zero_grad()\n"
    "        network(torch.randn(256, 128, 8)).sum().backward()\n"
    "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
    "print(-steps(4) + steps(4))\n"
    "def resident(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
    "before = resident(); data = torch.ones(20_000_000); del data; print(resident() - before)\n"
)


def test_what_a_step_frees_is_there_for_the_next_one_and_the_data_go_back() -> None:
    """Otherwise each step gets thousands of new pages, which the kernel fills with zeros first."""
    kept, usual = (
        subprocess.run(
            [sys.executable, "-c", STEPS, *how], capture_output=True, text=True, timeout=60, check=True
        )
        for how in (["kept"], [])
    )
    (pages, left), (usual_pages, _) = ([int(line) for line in done.stdout.split()] for done in (kept, usual))
    assert pages < 0.1 * usual_pages
    assert usual_pages > 2000
    assert left < 8e6


def test_without_mallopt_memory_is_kept_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another C library has no such call, and trains as well."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    keep_freed_memory()


def test_e7_a_child_whose_parent_is_already_gone_does_not_begin() -> None:
    """The parent may die between fork and the tie to it; then no process waits for the result."""
    done = run("become_disposable(1 if os.getppid() != 1 else 2)")
    assert done.returncode != 0
    assert "ORPHANED" in done.stderr


def test_a_child_started_by_hand_needs_no_parent() -> None:
    """A person may repeat a training from its directory."""
    assert run("become_disposable(None)").returncode == 0


def test_e11_sigterm_ends_the_child_even_where_the_parent_ignores_it() -> None:
    """Masks and ignored signals are handed down through exec."""
    code = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "become_disposable(None); os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)"
    )
    assert run(code).returncode == -signal.SIGTERM


def test_the_process_part_needs_no_torch() -> None:
    """It acts before torch is imported, which takes seconds."""
    done = run("import sys, clm.training.__main__; print(sorted({'torch', 'sklearn'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]"


def test_memory_figures_name_peak_and_limit() -> None:
    """An operator who reads CHILD_OOM wants to know how much it was."""
    assert "MiB resident" in memory_figures()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_e3_every_way_of_running_out_of_memory_is_one_exit(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python, torch and the system each have a word of their own for it; the operator needs one."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(child, "become_disposable", lambda _parent: None)
    monkeypatch.setattr(child, "_answer", fail)
    assert child.main(["train", str(tmp_path)]) is ChildExit.CHILD_OOM


def test_e3_a_gpu_that_is_full_is_told_as_one() -> None:
    """More memory for the child would not help it."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    assert "CLM_TRAINING__DEVICE=cpu" in out_of_memory(error)
    assert "CLM_LIMITS__MEMORY_MB" not in out_of_memory(error)
    assert out_of_memory(RuntimeError("another")) == ""


def test_e3_the_largest_network_trains_within_the_default_budget() -> None:
    """32 channels, each read by itself, in fp32: nothing else takes as much."""
    program = (
        "import torch; from clm.models.catalogue import architecture; from clm.settings import Settings\n"
        "from clm.training.process import keep_freed_memory, limit\n"
        "import os, sys; settings = Settings(store='x')\n"
        "limit(cpu_s=0, memory_mb=settings.train_memory_mb); keep_freed_memory()\n"
        "torch.set_num_threads(1); network = architecture('patchtst').sized(32).build(0.1).train()\n"
        "for _ in range(2): network(torch.randn(settings.batch_size, 128, 32)).sum().backward()\n"
        "print('trained')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout.strip() == "trained", done.stderr[-500:]


def test_another_failure_of_the_system_is_not_called_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong name for a fault sends the operator the wrong way."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(child, "become_disposable", lambda _parent: None)
    monkeypatch.setattr(child, "_answer", fail)
    with pytest.raises(OSError, match="Input/output"):
        child.main(["train", str(tmp_path)])
