"""What every constructor takes beyond its own arguments, said once.

An algorithm's constructor ends with `**options: Unpack[Options]` and hands them to
`Supervisor.__init__`, which names and documents each. They belong to this machine and these images,
not to the networks: a checkpoint does not hold them, and `load()` never asks for them. What shapes
the networks all the same is in `SHAPING`, and is stored.
"""

from __future__ import annotations

import os
from typing import Literal, TypedDict

import torch

from super_selfish.data.file_reader import Loader
from super_selfish.data.frames import Pages
from super_selfish.data.value_range import Range


class Options(TypedDict, total=False):
    """Keywords of every supervisor; their defaults and meaning stand in `Supervisor.__init__`."""

    stem: str
    weights: str | os.PathLike[str] | None
    device: torch.device | str | int | None
    on_error: Literal["raise", "skip"] | None
    value_range: Range
    pages: Pages
    loader: Loader | None


NAMES = frozenset(Options.__annotations__)
# Those that shape the networks, with what is meant where a checkpoint does not tell.
SHAPING = {"stem": "auto"}
