"""Runs that a user names, by their folder or their checkpoint, as supervisors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from super_selfish.cli.places import near

_BESIDE = ("-previous", "-best", "-nan")  # further files of a run


def named_checkpoint(path: str) -> str | None:
    """The checkpoint that a path alone says, without its ending; None where it says none.

    Args:
        path: Of the file, with or without its ending, or of a folder that `pretrain` has written.
    """
    if os.path.isfile(path):
        return path.removesuffix(".pt")
    names = (path, os.path.join(path, "run"))
    return next((name for name in names if os.path.isfile(f"{name}.pt")), None)


def find_run(place: str) -> str:
    """The checkpoint that a word means; imports nothing.

    Args:
        place: A folder that `pretrain` or `choose` has written, or a checkpoint, with or without
            its ending.

    Returns:
        Its path without the ending, as `load` takes it.

    Raises:
        ValueError: If there is none, or more than one.
    """
    path = os.path.expanduser(place)
    named = named_checkpoint(path)
    if named is not None:
        return named
    if not os.path.isdir(path):
        raise ValueError(
            f"there is no run {place}{near(path)}: give a folder that pretrain has written, or a "
            "checkpoint such as store/base.pt"
        )
    found = sorted(
        os.path.join(path, file.stem)
        for file in Path(path).glob("*.pt")
        if not any(word in file.stem for word in _BESIDE) and file.stem != "backbone"
    )
    if len(found) != 1:
        which = f"several checkpoints, {', '.join(found)}: name one" if found else "no checkpoint"
        raise ValueError(f"{place} holds {which}")
    return found[0]


def load_run(name: str) -> Any:
    """The supervisor of a checkpoint, where this machine computes best.

    Args:
        name: From `find_run`.

    Raises:
        ValueError: If it holds a class or a network of the user's own, which only Python can give.
    """
    from super_selfish.supervisors.stored import empty_for
    from super_selfish.training.devices import default_device

    return empty_for(name, "load it in Python").load(name).to(default_device())
