"""Objects in plain words, so that two runs can be compared: `{"StepLR.gamma": 0.5}`."""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import os
import platform
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.models.wrappers import bare_names, unwrapped, without_prefix, wrapped_by

Settings = dict[str, Any]  # plain values: numbers, text, None, lists of text

_DEEPEST = 6  # attributes of attributes of ...
_MOST = 400  # settings of one object
_LONGEST = 10_000_000  # entries of a tensor; of a longer one some are looked at
_SHORT = 64  # entries of a sequence that is shown as it is
_PYTHON = ".".join(platform.python_version_tuple()[:2])
_TORCH = ".".join(torch.__version__.split(".")[:2])


def described(name: str, value: Any) -> Settings:
    """What can be told of a value without its weights: numbers, names, and those of its parts.

    Networks are told by their class, by how they print, and by numbers and text that are named as
    arguments of their constructor; functions by their name, code and what they enclose; other
    objects by their class and by those attributes that are named as arguments of its constructor:
    others may change while it is used. Code is told for a version of Python, and prints for one of
    torch: where that differs there is nothing to compare.

    Args:
        name: What to call it.
        value: Anything.

    Returns:
        A plain value for the name, and for that of each part.
    """
    found: Settings = {}
    for part, told in _parts(name, value, _DEEPEST):
        if len(found) == _MOST:
            break
        found[part] = told
    return found


def _parts(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    whole = _told_whole(value)
    if whole is not None:
        yield name, whole[0]
    elif depth == 0:
        yield name, type(value).__name__
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _parts(f"{name}[{key!r}]", inner, depth - 1)
    elif isinstance(value, list | tuple):
        yield from _parts_of_sequence(name, value, depth)
    elif isinstance(value, nn.Module):
        yield from _parts_of_network(name, unwrapped(value))
    elif isinstance(value, functools.partial):
        yield from _parts(name, value.func, depth)
        for position, inner in enumerate(value.args):
            yield from _parts(f"{name}[{position}]", inner, depth - 1)
        for key, inner in value.keywords.items():
            yield from _parts(f"{name}.{key}", inner, depth - 1)
    elif isinstance(value, types.MethodType):
        yield name, value.__func__.__qualname__
        yield from _parts(f"object of {name}", value.__self__, depth - 1)
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(name, value, depth)
    else:
        yield name, type(value).__name__
        for attribute in _constructor_names(type(value)):
            if hasattr(value, attribute):
                yield from _parts(f"{name}.{attribute}", getattr(value, attribute), depth - 1)


def _told_whole(value: Any) -> tuple[Any] | None:
    """The plain value that tells a thing without parts; None for what has some."""
    if isinstance(value, enum.Enum | torch.dtype):
        return (str(value),)
    if value is None or isinstance(value, bool | int | float | str):
        return (value,)
    if isinstance(value, os.PathLike):
        return (os.fspath(value),)
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        return (_told_array(torch.as_tensor(value)),)
    return (value.__qualname__,) if isinstance(value, type) else None


def _parts_of_network(name: str, network: nn.Module) -> Iterator[tuple[str, Any]]:
    yield name, type(network).__name__
    yield f"layers of {name} (as torch {_TORCH} prints them)", _layers(network)
    for attribute in _constructor_names(type(network)):  # torch's losses print none of them
        inner = getattr(network, attribute, None)
        if isinstance(inner, bool | int | float | str):
            yield f"{name}.{attribute}", inner


def _parts_of_sequence(
    name: str, values: list[Any] | tuple[Any, ...], depth: int
) -> Iterator[tuple[str, Any]]:
    if all(isinstance(inner, bool | int | float | str | None) for inner in values):
        short = len(values) <= _SHORT
        text = ", ".join(map(repr, values))
        yield name, f"({text})" if short else f"{len(values)} values {_digest(text.encode())}"
        return
    for position, inner in enumerate(values):
        yield from _parts(f"{name}[{position}]", inner, depth - 1)


def _parts_of_function(
    name: str, function: types.FunctionType, depth: int
) -> Iterator[tuple[str, Any]]:
    yield name, function.__qualname__.replace("<locals>.", "")
    yield f"code of {name} (Python {_PYTHON})", _digest(_code(function.__code__))
    for parameter, default in inspect.signature(function).parameters.items():
        if default.default is not inspect.Parameter.empty:
            yield from _parts(f"{name}.{parameter}", default.default, depth - 1)
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            inner = cell.cell_contents
        except ValueError:  # it is not assigned yet
            continue
        yield from _parts(f"{name}.{variable}", inner, depth - 1)


def _code(code: types.CodeType) -> bytes:
    """What a function does, but not where it stands."""
    constants = [
        _code(constant) if isinstance(constant, types.CodeType) else repr(constant).encode()
        for constant in code.co_consts
    ]
    return b"\n".join([code.co_code, repr(code.co_names).encode(), *constants])


def _constructor_names(kind: type) -> list[str]:
    try:
        parameters = inspect.signature(kind).parameters
    except (TypeError, ValueError):  # some classes of other languages have none
        return []
    return list(parameters)


def _layers(network: nn.Module) -> str:
    wrappers = bare_names(network)
    lines = [
        f"{without_prefix(name + '.', wrappers)} {type(part).__name__} {part.extra_repr()}"
        for name, part in network.named_modules()
        if wrapped_by(part) is None
    ]
    # Where something lies in memory is no setting.
    return _digest(re.sub(r"0x[0-9a-f]+", "", "\n".join(lines)).encode())


def _told_array(tensor: Tensor) -> Any:
    if tensor.ndim == 0 and not tensor.is_complex():
        return tensor.item()
    flat = tensor.detach().flatten()
    some = flat[:: max(1, len(flat) // _LONGEST)].cpu().contiguous()
    content = some.view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype} {list(tensor.shape)} {_digest(content)}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
