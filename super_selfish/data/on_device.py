"""A whole dataset as one tensor on the device: a batch is a selection there, nothing is moved.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from super_selfish.data.collate import Batch, LabelCollator
from super_selfish.data.loaders import EpochBatches, build_loader
from super_selfish.data.sources import ImageSource
from super_selfish.data.stored import HeldImages
from super_selfish.data.workers import batches_of
from super_selfish.training.counting import plural
from super_selfish.training.display import open_bar
from super_selfish.training.memory import free_memory

_IMAGES_AT_ONCE = 256
_USABLE = 0.9  # of the free memory; the networks need some too


def held_on_device(
    source: ImageSource, device: torch.device, *, num_workers: int = 0, progress: bool = True
) -> ImageSource:
    """The same source with all its images, and labels, on a device as one tensor.

    Args:
        source: The images.
        device: Where they shall lie; each of several processes holds all of them.
        num_workers: Processes that read them.
        progress: Whether to show how far it is: a bar, or in logs a line now and then.

    Raises:
        OSError: An image cannot be read (`on_error="raise"`).
        ValueError: They need more memory than is free, where that is known, or differ in type.
    """
    order = EpochBatches(len(source), _IMAGES_AT_ONCE, shuffle=False)
    loader = build_loader(source, order, LabelCollator(), num_workers=num_workers)
    bar = open_bar(f"Reading to {device}", len(source), "img", shown=progress)
    images: Tensor | None = None
    labels: list[Tensor | None] = []
    readable: list[Tensor] = []
    with bar:
        for batch in batches_of(loader):
            bar.update(len(batch.index) + len(batch.unreadable))
            if not len(batch.index):
                continue
            if images is None:
                images = _room(batch.images, len(source), device)
            _put(images, batch, source)
            labels.append(batch.labels)
            readable.append(batch.index)
    if images is None:
        raise ValueError(f"none can be read of {plural(len(source), 'image')}")
    index = torch.cat(readable)
    held = copy.copy(source)
    unreadable = set(range(len(source))) - set(index.tolist())
    held.stored = HeldImages(images, _column(labels, index, len(source), device), unreadable)
    return held


def _room(like: Tensor, number: int, device: torch.device) -> Tensor:
    """An empty tensor for all images, of the type and the layout of some."""
    needed = number * like[0].numel() * like.element_size()
    free = free_memory(device)
    if free is not None and needed > _USABLE * free:
        raise ValueError(
            f"{number} images of {tuple(like.shape[1:])} need {needed / 1e9:.2f} GB on {device}, "
            f"where {free / 1e9:.2f} GB are free, which the networks need too: leave "
            "dataset_on_device out (cache= keeps images decoded on the disk), or take smaller ones"
        )
    channels, height, width = like.shape[1:]
    if like.stride(1) == 1 and channels > 1:
        rows = torch.empty(number, height, width, channels, dtype=like.dtype, device=device)
        return rows.permute(0, 3, 1, 2)
    return torch.empty(number, channels, height, width, dtype=like.dtype, device=device)


def _put(images: Tensor, batch: Batch, source: ImageSource) -> None:
    """Writes the images of a batch, which are in order, to their places."""
    if batch.images.dtype != images.dtype:
        raise ValueError(
            f"dataset_on_device keeps one tensor, but images differ in type: {images.dtype}, and "
            f"near {source.name(int(batch.index[0]))} {batch.images.dtype}; convert them to one"
        )
    first, last = int(batch.index[0]), int(batch.index[-1])
    if last - first + 1 == len(batch.index):
        images[first : last + 1] = batch.images.to(images.device)
        return
    for place, image in zip(batch.index.tolist(), batch.images, strict=True):
        images[place] = image.to(images.device)


def _column(
    labels: list[Tensor | None], index: Tensor, number: int, device: torch.device
) -> Tensor | None:
    """Labels of all images on the device; `None` if there are not always some."""
    known = [part for part in labels if part is not None]
    if len(known) < len(labels) or len({part.shape[1:] for part in known}) > 1:
        return None
    values = torch.cat(known)
    column = values.new_zeros(number, *values.shape[1:])
    column[index] = values
    return column.to(device)
