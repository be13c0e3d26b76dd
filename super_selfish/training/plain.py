"""Values as plain Python has them, so that a file which holds them can be read again.

`torch.load(weights_only=True)` knows tensors, numbers, text and their containers, and no others: a
file with one NumPy number in it is written without a word, and never read again. Torch 2.4 reads
neither bytes nor sets, so that no file has them: what one torch has written, all others read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Set
from decimal import Decimal
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DEEPEST = 100  # containers in containers; what refers to itself has no end


def plain(value: Any, place: str = "value") -> Any:
    """The same value, of exact plain types.

    | given | becomes |
    |---|---|
    | `bool`, `int`, `float`, `str`, `None` | itself |
    | NumPy's, or a subclass such as an `IntEnum`; `Fraction`, `Decimal` | the plain one |
    | a path | `str` |
    | an array | a number, or tuples of numbers |
    | a tensor | itself, without its history; of a subclass: a `Tensor` |
    | dicts, lists, tuples, `range` and their kinds | `dict`, `list`, `tuple` |
    | a set | a tuple, in one order |

    Args:
        value: Anything.
        place: Where it stands, for the message.

    Returns:
        The plain value; containers are new ones.

    Raises:
        TypeError: If there is something else in it; the message names the place.
    """
    return _plain(value, place, 0)


def is_plain(value: Any) -> bool:
    """Whether `plain` knows what to make of a value."""
    try:
        plain(value)
    except TypeError:
        return False
    return True


def plain_setting(value: Any) -> Any:
    """The plain form of an argument; one that has none (a module, a function) as it is.

    A tensor of one number is that number, in a sequence too, and a list is a tuple, as signatures
    have it.
    """
    if not is_plain(value):
        return value
    return _frozen(plain(value))


def same_plain(first: Any, second: Any) -> bool:
    """Whether two plain values are equal, their types included; tensors by their numbers."""
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        both = isinstance(first, Tensor) and isinstance(second, Tensor)
        return both and first.dtype == second.dtype and torch.equal(first.cpu(), second.cpu())
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            same_plain(value, second[key]) for key, value in first.items()
        )
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(same_plain(a, b) for a, b in pairs)
    return bool(first == second)


def _plain(value: Any, place: str, depth: int) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > DEEPEST:
        raise TypeError(f"{place} is nested deeper than {DEEPEST} containers: no plain value")
    if isinstance(value, Tensor):
        return _plain_tensor(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, place, depth)
    if isinstance(value, list | tuple | Set | range):
        inner = [_plain(each, f"{place}[{i}]", depth + 1) for i, each in enumerate(value)]
        if isinstance(value, list):
            return inner
        return tuple(sorted(inner, key=repr) if isinstance(value, Set) else inner)
    if isinstance(value, np.ndarray):
        return _plain(_tuples(value.tolist()), place, depth + 1)
    return _plain_scalar(value, place)


def _plain_scalar(value: Any, place: str) -> Any:
    # Methods of the exact types, since a subclass (an enum) may say something else of itself.
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Decimal):
        return float(value)
    if isinstance(value, PathLike):
        return _plain(fspath(value), place, 0)
    if isinstance(value, bytes | bytearray):
        raise TypeError(
            f"{place} is a {type(value).__name__}: no tensor and no plain value; give text, or a "
            "tensor of torch.uint8"
        )
    raise TypeError(f"{place} is a {type(value).__name__}: no tensor and no plain value")


def _plain_tensor(value: Tensor) -> Tensor:
    value = value.detach()
    value = value if type(value) in (Tensor, nn.Parameter) else value.as_subclass(Tensor)
    # A file holds whole storages: a row of a large tensor would bring all others with it.
    if value.layout == torch.strided and value.untyped_storage().nbytes() != value.nbytes:
        return value.clone()
    return value


def _plain_mapping(value: Mapping[Any, Any], place: str, depth: int) -> dict[Any, Any]:
    inner = {
        _plain(key, f"a key of {place}", depth + 1): _plain(each, f"{place}[{key!r}]", depth + 1)
        for key, each in value.items()
    }
    if type(value) is not OrderedDict:
        return inner
    ordered = OrderedDict(inner)
    if hasattr(value, "_metadata"):  # versions of the modules in a state dictionary
        # A module without a version says None.
        ordered._metadata = _plain(value._metadata, f"{place}._metadata", depth + 1)  # type: ignore[attr-defined]
    return ordered


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    if isinstance(value, Tensor) and value.ndim == 0:
        return value.item()
    return value
