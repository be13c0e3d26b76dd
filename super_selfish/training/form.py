"""What a checkpoint must look like, checked before anything in it is used.

A file that opens may still have been made by somebody else: what is missing, or of another type, is
named, and no reader further on meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

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
    wrong = [key for key, check in _PARTS.items() if key in state and not check(state[key])]
    if wrong:
        raise ValueError(
            f"{path} is no checkpoint of Super Selfish: its {wrong[0]!r} has another form"
        )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_words(value: Any, check: Check) -> bool:
    return isinstance(value, dict) and all(type(k) is str and check(v) for k, v in value.items())


def _is_argument(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    return "plain" in value or type(value.get("own")) is str


def _is_row(value: Any) -> bool:
    return _is_words(value, lambda each: type(each) in (int, float, bool, str, type(None)))


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("rows"), list)
        and all(map(_is_row, value["rows"]))
        and _is_words(value.get("sums"), lambda each: isinstance(each, Tensor))
        and all(each.ndim == 0 for each in value["sums"].values())
        and _is_words(value.get("counts"), _is_count)
        and value["counts"].keys() == value["sums"].keys()
        and _is_words(value.get("totals", {}), _is_count)
        and isinstance(value.get("others"), list | tuple)
        and len(value["others"]) == 4
        and all(map(_is_number, value["others"]))
    )


def _is_run(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and _is_count(value.get("epoch"))
        and _is_count(value.get("step"))
        and _is_words(value.get("settings"), lambda _: True)
        and _is_history(value.get("history"))
        and all(
            name in value and (value[name] is None or isinstance(value[name], dict))
            for name in ("scaler", "optimizer", "lr_scheduler")
        )
    )


def _is_start(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and _is_words(value.get("weights"), lambda each: isinstance(each, Tensor))
        and type(value.get("origin")) is str
    )


_PARTS: dict[str, Check] = {
    "class": lambda value: type(value) is str,
    "arguments": lambda value: _is_words(value, _is_argument),
    "model": lambda value: _is_words(value, lambda each: isinstance(each, Tensor)),
    "epochs_seen": _is_count,
    "start": _is_start,
    "run": _is_run,
    "provenance": lambda value: value is None or _is_words(value, lambda _: True),
}
