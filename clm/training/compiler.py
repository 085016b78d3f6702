"""Keep torch from loading its compiler. An optimiser loads it only to exclude functions from compilation.

Nothing is compiled here. Loading it takes memory and more than a second of CPU time in every process that
trains.
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
    """Placeholder for the compiler. Any attribute that it does not define loads the real module."""

    @staticmethod
    def graph_break(*_why: object) -> None:
        """Do nothing: there is no graph."""

    @staticmethod
    def disable(function: _Function, *_how: object, **_more: object) -> _Function:
        """Return the function unchanged."""
        return function

    def __getattr__(self, name: str) -> object:
        if name == "__file__":  # inspect reads it from every module and must not load the compiler
            raise AttributeError(name)
        # Remove the placeholder first, or the import would find it again.
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
            torch._dynamo = importlib.import_module(_NAME)
        return getattr(sys.modules[_NAME], name)


def leave_compiler_out() -> None:
    """Keep torch from loading its compiler until an attribute of it is needed."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Absent(_NAME)
