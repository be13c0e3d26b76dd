"""What a supervisor was built with, so that a checkpoint can rebuild it."""

from __future__ import annotations

import inspect
from typing import Any

from super_selfish.training.checkpoint import is_plain

Arguments = dict[str, Any]


def record_arguments(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """The arguments of a constructor by name, defaults included.

    Args:
        kind: The class that is constructed.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Returns:
        Name to value, without `self`.
    """
    bound = inspect.signature(kind.__init__).bind_partial(None, *args, **kwargs)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def stored_arguments(arguments: Arguments) -> Arguments:
    """The part that a checkpoint can hold: plain values; a network of the user's own by its class.

    Data sets are left out: a checkpoint is read without one.
    """
    stored: Arguments = {}
    for name, value in arguments.items():
        if name == "dataset":
            continue
        stored[name] = {"plain": value} if is_plain(value) else {"own": type(value).__name__}
    return stored


def rebuilding_arguments(stored: Arguments, present: Arguments, place: str) -> Arguments:
    """The arguments with which a stored supervisor is built again.

    Args:
        stored: What `stored_arguments` returned then.
        present: Arguments of the object that loads; gives the dataset and the user's own objects.
        place: Name of the checkpoint, for messages.

    Returns:
        Arguments for the constructor.

    Raises:
        ValueError: If the checkpoint was made with an object of the user's own that is not here.
    """
    arguments: Arguments = {name: present[name] for name in ("dataset",) if name in present}
    for name, entry in stored.items():
        if "plain" in entry:
            arguments[name] = entry["plain"]
        elif is_plain(present.get(name)):
            raise ValueError(
                f"{place} was trained with {name}={entry['own']}(...), an object of your own: "
                f"give the same {name}= to the constructor before you load"
            )
        else:
            arguments[name] = present[name]
    return arguments


def same_arguments(stored: Arguments, present: Arguments) -> bool:
    """Whether a supervisor already is as the checkpoint wants it."""
    return stored == stored_arguments(present)
