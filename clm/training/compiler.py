"""torch's compiler, left out: an optimiser loads it only to say what not to compile, and nothing is compiled.

It is more than a second of the processor in every process that trains, and memory.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

import torch

_NAME = "torch._dynamo"
_Function = TypeVar("_Function", bound=Callable[..., object])


class _Absent(ModuleType):
    """Stands in for the compiler when it is configured, and gives way to it when it is used."""

    @staticmethod
    def graph_break(*_why: object) -> None:
        """Say where a graph ends: there is none."""

    @staticmethod
    def disable(function: _Function, *_how: object, **_more: object) -> _Function:
        """Return the function as it is."""
        return function

    def __getattr__(self, name: str) -> object:
        if name == "__file__":  # inspect asks every module for it: that is no question to a compiler
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
            torch._dynamo = importlib.import_module(_NAME)
        return getattr(sys.modules[_NAME], name)


def leave_compiler_out() -> None:
    """Keep torch from loading its compiler, until something really asks for it."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Absent(_NAME)
