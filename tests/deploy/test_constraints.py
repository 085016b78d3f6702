"""The installed packages are the tested ones: every package is pinned, and none is unused."""

import re
import subprocess
import tomllib
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
ACCELERATOR = ("nvidia-", "cuda-", "triton")
"""Libraries that only some builds of torch ask for, each in the one version that it names itself."""
BENCH = find_spec("transformers") is not None
"""Whether the extra `bench` is here: `make bench` installs it, `make test` does not need it."""
SECTIONS_OF_BENCH = ("# -- direct, for benchmarks --", "# -- of transformers --")


def _name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def _pins() -> dict[str, str]:
    sections = (PROJECT / "constraints.txt").read_text(encoding="utf-8").split("\n\n")
    here = [section for section in sections if BENCH or not section.startswith(SECTIONS_OF_BENCH)]
    pins = [line.partition("#")[0].strip() for section in here for line in section.splitlines()]
    return {_name(pin.partition("==")[0]): pin.partition("==")[2] for pin in pins if pin}


def _direct() -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    optional = [text for name, texts in extras if BENCH or name != "bench" for text in texts]
    return [Requirement(text) for text in [*project["dependencies"], *optional]]


def _needed(roots: Iterable[Requirement]) -> set[str]:
    """Return the names of what these need, and what that needs, on this machine."""
    found: set[str] = set()
    waiting = [(_name(root.name), frozenset(root.extras)) for root in roots]
    while waiting:
        name, extras = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.name.startswith(ACCELERATOR):
                continue
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append((_name(requirement.name), frozenset(requirement.extras)))
    return found


def test_every_package_that_is_needed_is_pinned_and_no_other() -> None:
    """An untested version must not reach the server, and no pin is unused."""
    assert set(_pins()) == _needed(_direct())


def test_what_runs_the_tests_is_what_is_pinned() -> None:
    """Green tests speak of these versions and of no others."""
    installed = {name: metadata.version(name).partition("+")[0] for name in _pins()}
    assert installed == _pins()


def test_torch_is_the_first_pin() -> None:
    """It is installed by itself, before anything that would choose another build of it."""
    assert next(iter(_pins())) == "torch"


def test_pins_satisfy_what_the_project_asks_for() -> None:
    """A pin below the floor in pyproject.toml would bring back what the floor keeps out."""
    pins = _pins()
    wrong = [str(need) for need in _direct() if pins[_name(need.name)] not in need.specifier]
    assert not wrong


@pytest.mark.parametrize("script", ["deploy/install.sh", "deploy/uninstall.sh", "deploy/venv.sh"])
def test_scripts_refuse_what_they_do_not_know(script: str) -> None:
    """A misspelt option must not install anything: usage, exit 64."""
    done = subprocess.run(
        [str(PROJECT / script), "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert "deploy/" in done.stderr
