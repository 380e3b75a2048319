"""Finds the one class a driver package defines for a name, by the file's name alone."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from hutch.errors import NotFound


@cache
def names(package: ModuleType) -> tuple[str, ...]:
    """The drivers of `package`, without importing any of them."""
    return tuple(sorted(info.name.replace("_", "-") for info in iter_modules(package.__path__)))


def load(package: ModuleType, name: str) -> Any:
    """The `Driver` class of `package`'s module `name`, imported on first use."""
    if name not in names(package):
        raise NotFound(f"no {package.__name__.split('.')[1]} driver named {name!r}")
    return import_module(f"{package.__name__}.{name.replace('-', '_')}").Driver


def modules(package: ModuleType) -> list[ModuleType]:
    """Every module of `package`, imported, in the order of their names."""
    return [import_module(f"{package.__name__}.{info.name}") for info in iter_modules(package.__path__)]
