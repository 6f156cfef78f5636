"""A package's public names, each imported when it is first asked for (PEP 562).

So a command that touches no table does not wait for Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def finder(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what a package's `__getattr__` does; `homes` has the module of each public name.

    It raises AttributeError for any other name.
    """

    def found(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return found
