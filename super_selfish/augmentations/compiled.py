"""Pixel arithmetic as one compiled pass, where that is asked for.

A compiler keeps a pixel in registers through all the steps of a formula, where eager torch writes
it to memory after each. It wants the formula without writing in place, and without the index
arithmetic of a reflected border; so what is compiled is written for it. Nothing is drawn here: the
views are the same to rounding.

The switch is a context, not an argument: between `supervise()` and the pixels lie recipes, choices
and compositions that have no business with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch

BACKEND = "inductor"  # of torch.compile
_IS_WANTED: ContextVar[bool] = ContextVar("compiled_augmentation", default=False)


@contextmanager
def compiled_augmentation(wanted: bool = True) -> Iterator[None]:
    """While entered, augmentations of this thread compile what gains by it.

    Args:
        wanted: Whether to change anything.
    """
    token = _IS_WANTED.set(wanted)
    try:
        yield
    finally:
        _IS_WANTED.reset(token)


def is_wanted() -> bool:
    """Whether to compile: asked for, and not already part of something that is being compiled."""
    # In this order: amid tracing, torch 2.4 cannot look into a context variable.
    return not torch.compiler.is_compiling() and _IS_WANTED.get()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled form of a function of tensors; compiled once, whatever their sizes.

    Args:
        function: A function of a module; writes into none of its arguments.
    """
    return _compile(function, BACKEND)


@cache
def _compile(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    # Sizes stay open: the number of samples that draw an augmentation is another one every time.
    return torch.compile(function, backend=backend, dynamic=True)


def compiled_where_wanted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that suits eager torch and the compiler alike, in the form that is wanted."""
    return compiled(function) if is_wanted() else function
