"""Arguments as their signatures have them: what is meant is taken, what is not is said in words.

`8.0` is the whole number 8 and NumPy's numbers are numbers; the text `"8"` is none, and the text
`"False"` would count as True.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def arguments_checked(
    check: Callable[[str, Any], Any], together: Callable[[Mapping[str, Any]], None]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a method take what its signature says, and refuse the rest.

    Args:
        check: Given the name of an argument and its value, returns the value to be used.
        together: Given all arguments, refuses what does not fit together.

    Returns:
        A decorator.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound: Any = signature.bind(*args, **kwargs)
            for name, value in list(bound.arguments.items())[1:]:
                annotation = signature.parameters[name].annotation
                bound.arguments[name] = check(name, typed(name, value, annotation))
            bound.apply_defaults()
            together(bound.arguments)
            return method(*bound.args, **bound.kwargs)

        return checked

    return decorate


def typed_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a constructor, of the types that its signature says.

    Args:
        function: The constructor, with `self`.
        args: Positional arguments of the call, without it.
        kwargs: Keyword arguments of the call.

    Returns:
        Both, to be used instead.

    Raises:
        TypeError: If one is of another type.
        ValueError: If a number is not whole that must be.
    """
    parameters = dict(list(inspect.signature(function).parameters.items())[1:])
    names = list(parameters)

    def fitting(name: str, value: Any) -> Any:
        return typed(name, value, parameters[name].annotation) if name in parameters else value

    placed = [fitting(names[i], v) if i < len(names) else v for i, v in enumerate(args)]
    return tuple(placed), {name: fitting(name, value) for name, value in kwargs.items()}


def typed(name: str, value: Any, annotation: Any) -> Any:
    """A value as an annotation has it.

    Args:
        name: Of the argument.
        value: What was given.
        annotation: As it is written; of others than numbers, truth values and networks nothing is
            asked here.

    Returns:
        The value; numbers and truth values as plain ones.

    Raises:
        TypeError: If it is of another type.
        ValueError: If a number is not whole that must be.
    """
    wanted = {part.strip() for part in str(annotation).split("|")}
    if value is None:
        if wanted <= {"bool", "int", "float"}:
            raise TypeError(f"{name} must be {_IN_WORDS[min(wanted)]}, got None: leave it out")
        return None
    wanted -= {"None"}
    if wanted == {"bool"}:
        return as_truth(name, value)
    if wanted == {"int"}:
        return as_whole(name, value)
    if wanted == {"float"}:
        return as_number(name, value)
    is_network = "nn.Module" in wanted or "Callable[..., Tensor]" in wanted
    if is_network and inspect.isclass(value):
        kind = value.__name__
        raise TypeError(f"{name} must be an object, got the class {kind}: give {kind}(...)")
    if "nn.Module" in wanted and inspect.isfunction(value):
        kind = value.__name__
        raise TypeError(f"{name} must be a network, got the function {kind}: give {kind}(...)")
    return value


_IN_WORDS = {"bool": "True or False", "int": "a whole number", "float": "a number"}


def as_truth(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    hint = ""
    if isinstance(value, str) and name in ("pretrained", "resume"):
        hint = f": where from is told by name={value!r}"
    raise TypeError(f"{name} must be True or False, got {_shown(value)}{hint}")


def as_whole(name: str, value: Any) -> int:
    """A whole number.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not whole.
    """
    number = _number(name, value, "a whole number")
    if isinstance(number, Integral):
        return int(number)
    if math.isfinite(number) and number == int(number):
        return int(number)
    raise ValueError(f"{name} must be a whole number, got {value}")


def as_count(name: str, value: Any, unit: str = "") -> int:
    """A whole number of at least 1.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not whole, or less.
    """
    whole = as_whole(name, value)
    if whole < 1:
        raise ValueError(f"{name} must be at least 1{unit}, got {whole}")
    return whole


def as_number(name: str, value: Any) -> float:
    """A number; a whole one stays whole.

    Raises:
        TypeError: If it is none.
    """
    number = _number(name, value, "a number")
    return int(number) if isinstance(number, Integral) else float(number)


def is_several(value: Any) -> bool:
    """Whether a value holds others in their order, as lists and arrays do; text does not."""
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str)


def both_of(name: str, given: Any, second: str) -> Any:
    """The numbers between which an argument goes over a run, which are not looked at.

    Args:
        name: Of the argument.
        given: What the user gave, if it `is_several`.
        second: Of when the second one is, for the message, such as "of the last".

    Raises:
        ValueError: If there are not two.
    """
    if len(given) != 2:
        raise ValueError(
            f"{name} must be one number, or two, that of the first update and that {second}, got "
            f"{given!r}"
        )
    return given


def _number(name: str, value: Any, wanted: str) -> Any:
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, bool | np.bool_) and isinstance(value, Real):
        return value
    hint = ""
    if isinstance(value, str):
        try:
            hint = f": write {name}={float(value):g}, without quotes"
        except ValueError:
            hint = ""
        if hint and "e" in value.lower() and "." not in value:
            hint += " (YAML takes 1e-3 for a text, and 1.0e-3 for a number)"
    raise TypeError(f"{name} must be {wanted}, got {_shown(value)}{hint}")


def _shown(value: Any) -> str:
    return f"the text {value!r}" if isinstance(value, str) else repr(value)
