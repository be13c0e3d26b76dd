"""What a misspelt keyword is told."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

# What other libraries call ours, where the letters do not tell.
_ALSO = {
    "learning_rate": "lr",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "workers": "num_workers",
}

P = ParamSpec("P")
R = TypeVar("R")


def did_you_mean(wrong: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, or None."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def unknown_keyword(
    where: str, wrong: str, known: Iterable[str], elsewhere: dict[str, Iterable[str]] | None = None
) -> TypeError:
    """The error for a keyword that a function does not take.

    Args:
        where: What was called, such as `"supervise()"`.
        wrong: The keyword.
        known: Those that it takes.
        elsewhere: Other calls in which the keyword may belong, with theirs.

    Returns:
        The error, to be raised.
    """
    known = list(known)
    if _ALSO.get(wrong) in known:
        return TypeError(f"{where} takes no {wrong}=: did you mean {_ALSO[wrong]}=?")
    if meant := did_you_mean(wrong, known):
        return TypeError(f"{where} takes no {wrong}=: did you mean {meant}=?")
    for other, names in (elsewhere or {}).items():
        meant = did_you_mean(wrong, names)
        if meant is not None:
            said = f"that is an argument of {other}" if meant == wrong else f"{other} has {meant}="
            return TypeError(f"{where} takes no {wrong}=: {said}")
    listed = ", ".join(f"{name}=" for name in known)
    return TypeError(f"{where} takes no {wrong}=: it takes {listed}")


def spelling_checked(
    elsewhere: Callable[[object], dict[str, Iterable[str]]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a method refuse unknown keywords with the one that was probably meant.

    Args:
        elsewhere: Given the object, says what else its user calls, as for `unknown_keyword`.

    Returns:
        A decorator.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        known = list(inspect.signature(method).parameters)[1:]

        @functools.wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    place = f"{method.__name__}()"
                    raise unknown_keyword(place, name, known, elsewhere(args[0]))
            return method(*args, **kwargs)

        return checked

    return decorate
