"""Where a run lies, and which call it is of, for who wants to do something with it."""

from __future__ import annotations

import json
import os
import shlex
from typing import NamedTuple

from super_selfish.training.checkpoint import CHOICES, RUN, has_checkpoint, without_ending


class Place(NamedTuple):
    """Of a run that is stored.

    Attributes:
        run: What a command line calls it: the folder of a call that has one, or the checkpoint.
        call: `"pretrain"` or `"choose"`; None if nobody knows of any but `supervise`.
    """

    run: str
    call: str | None

    @property
    def how_it_goes_on(self) -> str:
        """What to do, in words."""
        if self.call is None:
            return "supervise(..., resume=True) goes on with it, with more epochs if these are done"
        return (
            f"{self.call}() with the same arguments and a longer time goes on with it; in a "
            f"terminal: super-selfish {self.call} IMAGES --out {self.run} --time LONGER"
        )


def place_of(name: str | os.PathLike[str]) -> Place | None:
    """Where a run lies; None if it does not.

    Args:
        name: Path of the checkpoint, without its ending.
    """
    if not has_checkpoint(name):
        return None
    path = without_ending(os.fspath(name))
    folder, file = os.path.split(path)
    call = _call_of(folder) if file == RUN else None
    return Place(shlex.quote(path if call is None else folder), call)


def _call_of(folder: str) -> str | None:
    """The call that has noted its choices in a folder."""
    try:
        with open(os.path.join(folder, CHOICES), encoding="utf-8") as opened:
            call = json.load(opened)["asked"]["call"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return call if isinstance(call, str) else None
