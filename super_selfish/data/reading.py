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
from super_selfish.data.joined import JoinedBatches, JoinedSource
from super_selfish.data.loaders import EpochBatches, build_loader
from super_selfish.data.on_device import held_on_device
from super_selfish.data.sources import ImageSource
from super_selfish.data.stream_joined import JoinedStreamLoader
from super_selfish.data.stream_loader import StreamLoader
from super_selfish.data.stream_order import StreamBatches
from super_selfish.data.stream_source import INSTEAD, StreamSource


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
    num_workers: int,
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
    if _holds_stream(source):
        if reading.on_device:
            raise ValueError(
                "dataset_on_device keeps all images where the networks are, and nobody has all of "
                f"a stream: leave it out. {INSTEAD}"
            )
        if reading.cache is not None:
            source.cached(reading.cache)
        return _open_streams(source, batches, collate_fn, device, num_workers, reading.timeout)
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


def _holds_stream(source: ImageSource) -> bool:
    parts = source.parts if isinstance(source, JoinedSource) else [source]
    return any(isinstance(part, StreamSource) for part in parts)


def _open_streams(
    source: ImageSource,
    batches: EpochBatches,
    collate_fn: Any,
    device: torch.device,
    num_workers: int,
    timeout: float,
) -> Any:
    """The loader of a stream, or of several sources of which some are streams."""
    if isinstance(source, StreamSource) and isinstance(batches, StreamBatches):
        return StreamLoader(
            source,
            batches,
            collate_fn,
            num_workers=num_workers,
            pin_memory=device.type not in ("cpu", "mps"),
            timeout=timeout,
        )
    if not isinstance(source, JoinedSource) or not isinstance(batches, JoinedBatches):
        return build_loader(
            source, batches, collate_fn, num_workers=num_workers, timeout=timeout, fills=True
        )
    each = -(-num_workers // len(source.parts))
    for order in batches.orders:
        order.start_at(*divmod(batches.epoch * batches.turns, len(order)))
    loaders = [
        _open_streams(part, order, collator, device, each, timeout)
        for part, order, collator in zip(
            source.parts, batches.orders, collate_fn.collators, strict=True
        )
    ]
    return JoinedStreamLoader(loaders, batches)
