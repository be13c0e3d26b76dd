"""Who can load a checkpoint, found by the checkpoint alone."""

from __future__ import annotations

import os
from typing import Any

from super_selfish.training.checkpoint import checkpoint_path, read_run


def empty_for(name: str | os.PathLike[str], remedy: str) -> Any:
    """A supervisor of the class that a checkpoint holds, for its `load()`.

    Args:
        name: As for `load()`.
        remedy: What to do with a class of the user's own, for the message.

    Returns:
        It has no data and a small network: the file brings its own.

    Raises:
        ValueError: If the checkpoint holds a class of the user's own.
    """
    # That table has users of this function in it, so it is there only once all files are.
    from super_selfish.supervisors import SUPERVISORS

    path = checkpoint_path(name)
    kind = read_run(path)["class"]
    kinds: dict[str, Any] = {each.__name__: each for each in SUPERVISORS.values()}
    if kind not in kinds:
        raise ValueError(f"{path} holds a {kind}, a class of your own: {remedy}")
    return kinds[kind](backbone=kinds[kind].own_backbone or "narrow-resnet", image_size=32)
