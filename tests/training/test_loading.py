"""What a child must not import: it costs seconds of each job, and memory that the engine needs."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from clm.imports import hidden
from clm.training.process import loading

TRAINED = """
import sys
from tests.training import jobs
from tests.training.conftest import train
from pathlib import Path
train(Path(sys.argv[1]), jobs.dataset(n_windows=160))
loaded = {"compiler": "torch._dynamo.eval_frame", "export": "torch._inductor.config"}
print(sorted(name for name, module in loaded.items() if module in sys.modules))
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-E", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_a_training_does_not_load_the_compiler(tmp_path: Path) -> None:
    """An optimiser loads it to be left alone by it: more than a second, in every process that trains."""
    done = python(TRAINED, str(tmp_path))
    assert done.stdout.strip() == "[]", done.stderr


def test_who_asks_for_the_compiler_gets_it() -> None:
    """What is left out is not taken away: a part of torch that needs it must not break."""
    done = python(
        "import torch; from clm.training.compiler import leave_compiler_out; leave_compiler_out()\n"
        "import torch._dynamo; stand_in = torch._dynamo\n"
        "import torch._dynamo.config\n"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item(), "
        "torch._dynamo is not stand_in, stand_in.is_compiling())"
    )
    assert done.stdout.split() == ["2.0", "True", "False"], done.stderr


def test_whoever_looks_through_all_modules_does_not_ask_for_the_compiler() -> None:
    """inspect does, in the middle of another import of torch, which would then be half of what it is."""
    done = python(
        "import sys, torch; from clm.training.compiler import leave_compiler_out; leave_compiler_out()\n"
        "asked = [hasattr(module, '__file__') for module in list(sys.modules.values())]\n"
        "print('torch._dynamo.eval_frame' in sys.modules)"
    )
    assert done.stdout.split() == ["False"], done.stderr


def test_torch_is_as_deterministic_as_when_it_is_told_the_dear_way() -> None:
    """The cheap way is another function of torch, not another promise."""
    done = python(
        "import torch; from clm.training.determinism import make_deterministic; make_deterministic(1, 1)\n"
        "print(torch.are_deterministic_algorithms_enabled(), "
        "torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_num_threads())"
    )
    assert done.stdout.split() == ["True", "False", "1"], done.stderr


def test_what_is_hidden_is_there_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the import meanwhile is to believe that it is not installed; what is loaded stays."""
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with hidden("wave", "json"):
        with pytest.raises(ImportError):
            import wave
        import json
    import wave

    assert wave.open
    assert json.dumps


def test_loading_looks_for_garbage_again_afterwards() -> None:
    """A training of hours must not grow by what it throws away."""
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_scikit_learn_is_loaded_without_pandas() -> None:
    """The tables that it would take are never given to it."""
    done = python(
        "import sys; from clm.training.process import loading\n"
        "with loading(): import clm.training.floor\n"
        "print('sklearn.ensemble' in sys.modules, 'pandas' in sys.modules)"
    )
    assert done.stdout.split() == ["True", "False"], done.stderr


@pytest.mark.parametrize("code", [0, 93])
def test_a_child_that_leaves_at_once_has_said_all(code: int) -> None:
    """The parent knows of it what is in the log, and the code."""
    done = python(
        f"import sys; from clm.training.process import leave; sys.stdout.write('last'); leave({code})"
    )
    assert done.returncode == code
    assert done.stdout == "last"
