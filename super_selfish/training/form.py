"""What a checkpoint must look like, checked before anything in it is used.

A file that opens may still have been made by somebody else: what is missing, or of another type, is
named, and no reader further on meets it. What is about to be written is judged by the same rules,
so that no good file is replaced by one that can never be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from super_selfish.training.averaging import restored_average

Check = Callable[[Any], bool]
NEEDED = ("class", "arguments", "model", "run")


def require_form(state: dict[str, Any], path: Path, needed: Iterable[str] = NEEDED) -> None:
    """Refuses a checkpoint of another form.

    Args:
        state: As it was read.
        path: Of the file, for messages.
        needed: What must be there.

    Raises:
        ValueError: If something is missing, or no such thing as it should be.
    """
    missing = [key for key in needed if key not in state]
    if missing:
        raise ValueError(f"{path} is no checkpoint of Super Selfish: it has no {missing[0]!r}")
    wrong = _misfits(state)
    if wrong:
        raise ValueError(
            f"{path} is no checkpoint of Super Selfish: its {wrong[0][0]!r} has another form"
        )


def require_storable(state: dict[str, Any], path: Path) -> None:
    """Refuses to write what `require_form` refuses to read.

    Args:
        state: About to be written, in plain values.
        path: Of the file, for messages.

    Raises:
        TypeError: If something has another form; the message names its place.
    """
    wrong = _misfits(state)
    if not wrong:
        return
    *_, place = wrong
    value: Any = state
    for key in place:
        value = value[key]
    where = place[0] + "".join(f"[{key!r}]" for key in place[1:])
    raise TypeError(
        f"nothing that is stored at {path} could be loaded again: its {where} is of an unexpected "
        f"form ({type(value).__name__}). A state_dict() is a dict of tensors by name, a column of "
        "the history has a name and one number or text a row"
    )


def is_cell(value: Any) -> bool:
    """Whether a row of the history can hold a value."""
    return type(value) in (int, float, bool, str, type(None))


def is_extra_state(name: str) -> bool:
    """Whether an entry of a state dict is what a module's `get_extra_state` returned."""
    return name.rpartition(".")[2] == "_extra_state"


def _misfits(state: dict[str, Any]) -> list[tuple[str, ...]]:
    """Places of parts that have another form; where it is known, the last one is the innermost."""
    for key, check in _PARTS.items():
        if key in state and not check(state[key]):
            return [(key,), *((key, name) for name in _misfits_in(key, state[key])[:1])]
    return []


def _misfits_in(key: str, part: Any) -> list[str]:
    if not isinstance(part, dict):
        return []
    if key == "model":
        return [name for name, value in part.items() if not _is_entry(name, value)]
    checks = _RUN if key == "run" else {}
    return [name for name, fits in checks.items() if name in part and not fits(part[name])]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_words(value: Any, check: Check) -> bool:
    return isinstance(value, dict) and all(type(k) is str and check(v) for k, v in value.items())


def _is_argument(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    return "plain" in value or type(value.get("own")) is str


def _is_entry(name: Any, value: Any) -> bool:
    return type(name) is str and (isinstance(value, Tensor) or is_extra_state(name))


def _is_model(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_entry(*entry) for entry in value.items())


def _is_row(value: Any) -> bool:
    return _is_words(value, is_cell)


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("rows"), list)
        and all(map(_is_row, value["rows"]))
        and _is_words(value.get("sums"), lambda each: isinstance(each, Tensor))
        and all(each.ndim == 0 for each in value["sums"].values())
        and _is_words(value.get("counts"), _is_amount)
        and value["counts"].keys() == value["sums"].keys()
        and _is_words(value.get("totals", {}), _is_count)
        and isinstance(value.get("others"), list | tuple)
        and len(value["others"]) == 4
        and all(map(_is_number, value["others"]))
    )


def _is_state(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_settings(value: Any) -> bool:
    return _is_words(value, lambda _: True)


_RUN: dict[str, Check] = {
    "epoch": _is_count,
    "step": _is_count,
    "seen": _is_count,
    "settings": _is_settings,
    "history": _is_history,
    "scaler": _is_state,
    "optimizer": _is_state,
    "lr_scheduler": _is_state,
    "epochs_before": _is_count,
    "watched_since": _is_count,
    "schedule": _is_settings,
    "watching": _is_settings,
}
# What files of earlier versions have not.
_LATER = frozenset({"seen", "epochs_before", "watched_since", "schedule", "watching"})


def _is_run(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(
        check(value[name]) if name in value else name in _LATER for name, check in _RUN.items()
    )


def _is_start(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and _is_words(value.get("weights"), lambda each: isinstance(each, Tensor))
        and type(value.get("origin")) is str
    )


def _is_average(value: Any) -> bool:
    if not (isinstance(value, dict) and value.keys() >= _AVERAGE):
        return False
    try:
        restored_average(value)
    except (LookupError, TypeError, ValueError):  # a rule that is none
        return False
    return (
        _is_words(value["weights"], lambda each: isinstance(each, Tensor))
        and _is_count(value["updates"])
        and type(value["has_statistics"]) is bool
    )


_AVERAGE = frozenset({"rule", "updates", "has_statistics", "weights"})
_LONGEST_SIDE = 1 << 16  # pixels, and channels

_PARTS: dict[str, Check] = {
    "class": lambda value: type(value) is str,
    "arguments": lambda value: _is_words(value, _is_argument),
    "model": _is_model,
    "epochs_seen": _is_count,
    "images": lambda value: (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(_is_count(number) and 0 < number <= _LONGEST_SIDE for number in value)
    ),
    "start": _is_start,
    "averaged": _is_average,
    "run": _is_run,
    "provenance": lambda value: value is None or _is_words(value, lambda _: True),
}
