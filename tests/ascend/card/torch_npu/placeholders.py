"""What vllm-ascend imports and hands around, and never asks for a number.

A placeholder does nothing, whatever is done to it. An operator is never one: where its name begins
as operators' do, it refuses.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

from .refusal import refuse

OPERATORS = ("npu_", "_npu_")
"""How the names of operators begin."""
TOO_NEW = ("_npu_flash_attention_v3", "_npu_paged_attention_splitfuse_v2")
"""Operators of torch_npu 2.13 that the 2.10 beside vllm-ascend 0.23 to 0.30 lacks; it asks for
them, and does without."""
OF_OPERATORS = ("fla_npu",)
"""Packages in which every name that is no module is an operator."""


class _AnyAttribute(type):
    def __getattr__(cls, name: str) -> Any:
        return attribute(name)


class Anything(metaclass=_AnyAttribute):
    """An object, and a class, of which everything is such an object."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()

    def __getattr__(self, name: str) -> Any:
        return attribute(name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Any:
        return iter(())


def operator(name: str) -> Any:
    """An operator that is not written."""

    def refused(*arguments: Any, **named: Any) -> Any:
        refuse(name, "is not written", **{f"_{n}": v for n, v in enumerate(arguments)}, **named)

    refused.out = refused
    return refused


def attribute(name: str) -> Any:
    """What stands for an attribute: an operator, or anything."""
    if name.startswith("__") or name in TOO_NEW:
        raise AttributeError(name)
    return operator(name) if name.startswith(OPERATORS) else Anything()


class Placeholder(types.ModuleType):
    """A module in which there is every name."""

    def __getattr__(self, name: str) -> Any:
        package = self.__name__.partition(".")[0]
        if package in OF_OPERATORS and not name.startswith("__"):
            return operator(f"{self.__name__}.{name}")
        found = attribute(name)
        return type(name, (Anything,), {}) if isinstance(found, Anything) else found


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds placeholders for some packages, and below them, where no file stands for a module."""

    def __init__(self, *packages: str) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name.partition(".")[0] in self._packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        made = Placeholder(spec.name)
        made.__path__ = []
        return made

    def exec_module(self, module: types.ModuleType) -> None: ...


def install(*packages: str) -> None:
    """Let `packages`, and every module below them, be there; asked last."""
    sys.meta_path.append(Finder(*packages))
