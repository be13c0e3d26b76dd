"""What a source gives: one sample, one that cannot be read, or a batch of samples at once.

A batch is what travels from here to the collators, whoever has put the images side by side.

Shapes: `B` samples, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, overload

import torch
from torch import Tensor

from super_selfish.data.conversion import stack_images

SKIPPED_LABEL = -1  # of an item that cannot be read, where such items are skipped, or that has none


class Sample(NamedTuple):
    """One image, its index in the source and its label.

    `image` is `[C, H, W]`, uint8, uint16 or float32 in [0, 1]; `label` a scalar int64 tensor, or
    whatever tensor the dataset gives, or `None`.
    """

    image: Tensor
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    label: Tensor | None


class Unreadable(NamedTuple):
    """Stands for a sample that could not be decoded, and says why."""

    index: int  # type: ignore[assignment]
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples whose images lie side by side; item by item, they are `Sample`s.

    Attributes:
        images: `[B, C, H, W]`, uint8, uint16 or float32 in [0, 1].
        index: `[B]` int64, positions in the source; on the CPU until the batch is moved.
        labels: `[B, ...]` where the dataset has labels, else `None`.
        unreadable: Names of images that were left out, and why.
        no_labels: Why there are no labels, where the dataset has some.
    """

    images: Tensor
    index: Tensor
    labels: Tensor | None = None
    unreadable: tuple[str, ...] = ()
    no_labels: str = ""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.index)

    def __iter__(self) -> Iterator[Sample]:
        """The samples, in order."""
        return (self[position] for position in range(len(self)))

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> Batch: ...
    def __getitem__(self, position: int | slice) -> Sample | Batch:
        """One sample, or some."""
        labels = None if self.labels is None else self.labels[position]
        if isinstance(position, slice):
            return Batch(self.images[position], self.index[position], labels)
        return Sample(self.images[position], int(self.index[position]), labels)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
            labels=labels,
        )

    def pin_memory(self) -> Batch:
        """The same where an accelerator reads it faster; loaders call it."""
        labels = None if self.labels is None else self.labels.pin_memory()
        return replace(
            self, images=self.images.pin_memory(), index=self.index.pin_memory(), labels=labels
        )


class Samples(Protocol):
    """Whatever gives samples by their positions, several at once where it can."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int, /) -> Sample | Unreadable:
        """One sample."""

    def __getitems__(self, indices: Sequence[int], /) -> Batch | list[Sample | Unreadable]:
        """Some samples."""


class ReadingError(Exception):
    """An image that cannot be decoded; `cause` is what the decoder said."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


class DatasetError(RuntimeError):
    """An exception of the user's own dataset, with the item on which it came; `__cause__` is it."""


def images_at(source: Samples, indices: Iterable[int] | Tensor) -> Tensor:
    """Reads some images and stacks them.

    Args:
        source: Where from.
        indices: Positions in the source.

    Returns:
        `[B, C, H, W]`; uint8, uint16 or float32 (float32 too where types differ).

    Raises:
        ValueError: There are no indices, or one of the images cannot be read.
    """
    chosen = [int(index) for index in indices]
    if not chosen:
        raise ValueError("expected at least one index, got none")
    samples = source.__getitems__(chosen)
    if isinstance(samples, Batch):
        return samples.images
    images = []
    for sample in samples:
        if isinstance(sample, Unreadable):
            raise ValueError(f"cannot read image {sample.name}: {sample.reason}")
        images.append(sample.image)
    return stack_images(images)
