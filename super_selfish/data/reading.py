"""How a run reads its images: from files, from a cache of them, or from the device itself.

Whichever it is, a step sees the same images in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from super_selfish.data.collate import Collator
from super_selfish.data.loaders import EpochBatches, build_loader
from super_selfish.data.on_device import held_on_device
from super_selfish.data.sources import ImageSource


class Reading(NamedTuple):
    """What `supervise()` was told of it."""

    cache: str | os.PathLike[str] | None = None
    on_device: bool = False
    progress: bool = True
    timeout: float = 0  # seconds that workers have for a batch; 0: all time


def open_loader(
    source: ImageSource,
    batches: EpochBatches,
    collate_fn: Collator | Callable[[list[Any]], Any],
    device: torch.device,
    *,
    num_workers: int = 0,
    reading: Reading | None = None,
) -> DataLoader[Any]:
    """Builds the loader of a run, and before that the cache, or the tensor on the device.

    Args:
        source: The images.
        batches: Their order.
        collate_fn: As for `build_loader`.
        device: Where the networks are.
        num_workers: Processes that read images; of a tensor on the device, only to fill it.
        reading: Whether there is a cache, or a tensor on the device.

    Raises:
        ValueError: If a plain function shall collate what only a `Collator` can take, or the
            images do not fit the device.
    """
    reading = reading or Reading()
    if reading.cache is None and not reading.on_device:
        pin_memory = device.type not in ("cpu", "mps")
        return build_loader(
            source,
            batches,
            collate_fn,
            num_workers=num_workers,
            pin_memory=pin_memory,
            timeout=reading.timeout,
            fills=True,
        )
    if not isinstance(collate_fn, Collator):
        option = "cache" if reading.cache is not None else "dataset_on_device"
        raise ValueError(
            f"{option} keeps images ready for a Collator, but this collate_fn takes the dataset's "
            f"own items: write a Collator, or leave {option} out"
        )
    if reading.cache is not None:
        source = source.cached(reading.cache, progress=reading.progress)
    if not reading.on_device:
        rest = Reading(timeout=reading.timeout)
        return open_loader(
            source, batches, collate_fn, device, num_workers=num_workers, reading=rest
        )
    source = held_on_device(source, device, num_workers=num_workers, progress=reading.progress)
    return build_loader(source, batches, collate_fn, fills=True)
