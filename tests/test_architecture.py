"""The rules of the house that a reader relies on."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_floors_hold():
    """Each floor imports only downwards; torch, scipy and scikit-learn live in the training child."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Modules of the idle daemon."""
    script = "import sys, clm.cli, clm.daemon.serve; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


@pytest.mark.parametrize(
    "module", ["torch", "scipy", "sklearn", "alembic", "pandas", "jinja2", "numpy.random", "talib", "optuna"]
)
def test_the_daemon_does_not_load(module, loaded):
    """The idle daemon shares its server with the engine; what only a run needs is loaded by the run."""
    assert "clm.daemon.serve" in loaded
    assert module not in loaded


def test_no_file_of_the_package_is_two_subjects_long():
    """At 350 lines a file has a second subject that deserves a name."""
    long = {str(p): n for p in (ROOT / "clm").rglob("*.py") if (n := len(p.read_text().splitlines())) > 350}
    assert long == {}


def functions() -> Iterator[tuple[str, int, int]]:
    """Yield name, lines after the docstring, and parameters without self and cls of every function."""
    for path in sorted((ROOT / "clm").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno) + 1
                named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                is_method = bool(named) and named[0].arg in {"self", "cls"}
                yield f"{path.name}:{node.lineno} {node.name}", lines, len(named) - is_method


def test_a_function_is_one_sentence() -> None:
    """Fifty lines hold a second subject, and more than seven parameters a type without a name."""
    found = list(functions())
    assert [name for name, lines, _ in found if lines > 50] == []
    assert [name for name, _, parameters in found if parameters > 7] == []
    assert sum(lines > 30 for _, lines, _ in found) <= 0.01 * len(found)
