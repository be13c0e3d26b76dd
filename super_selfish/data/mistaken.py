"""What is often given for a data set and is none, with what to give instead."""

from __future__ import annotations

import os
from typing import Any

from torch.utils.data import DataLoader


def refuse_mistaken(data: Any) -> None:
    """Refuses what holds images, or says where they are, but not in a way that can be read.

    Args:
        data: What the user gave for a data set.

    Raises:
        TypeError: If it is a table that is not computed yet, a loader, or a map of the globe.
        ValueError: If it is an empty path.
    """
    library = type(data).__module__.split(".")[0]
    kind = type(data).__name__
    if library == "polars" and kind == "LazyFrame":
        raise TypeError("a LazyFrame holds no rows yet: give frame.collect()")
    if isinstance(data, DataLoader):
        raise TypeError(
            "expected a data set, got a DataLoader, which makes batches of its own: give "
            "loader.dataset, and batch_size= and num_workers= to supervise()"
        )
    if any(_is_of_the_globe(base) for base in type(data).__mro__):
        raise TypeError(
            f"a {kind} of TorchGeo is asked by places, and not by numbers: give "
            "super_selfish.data.SampledItems(dataset, sampler), with one of torchgeo.samplers"
        )
    if isinstance(data, str | os.PathLike) and not os.fspath(data):
        raise ValueError("expected a folder of images, but the path is empty")


def _is_of_the_globe(kind: type) -> bool:
    return kind.__name__ == "GeoDataset" and kind.__module__.startswith("torchgeo.")
