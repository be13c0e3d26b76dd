"""What a source gives: one sample, one that cannot be read, or a batch of samples at once.

Shapes: `B` samples, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import torch
from torch import Tensor

from super_selfish.data.conversion import stack_images

if TYPE_CHECKING:
    from super_selfish.data.sources import ImageSource


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


class SampleBatch(Sequence[Sample]):
    """Samples whose images lie side by side already; item by item, they are `Sample`s.

    Attributes:
        images: `[B, C, H, W]`.
        indices: `[B]` int64, on the CPU.
        labels: `[B, ...]` or `None`.
    """

    def __init__(self, images: Tensor, indices: Tensor, labels: Tensor | None) -> None:
        self.images = images
        self.indices = indices
        self.labels = labels

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.images)

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> SampleBatch: ...
    def __getitem__(self, position: int | slice) -> Sample | SampleBatch:
        """One sample, or some."""
        labels = None if self.labels is None else self.labels[position]
        if isinstance(position, slice):
            return SampleBatch(self.images[position], self.indices[position], labels)
        return Sample(self.images[position], int(self.indices[position]), labels)


class ReadingError(Exception):
    """An image that cannot be decoded; `cause` is what the decoder said."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


class DatasetError(RuntimeError):
    """An exception of the user's own dataset, with the item on which it came; `__cause__` is it."""


def images_at(source: ImageSource, indices: Iterable[int] | Tensor) -> Tensor:
    """Reads some images and stacks them.

    Args:
        source: Where from.
        indices: Positions in the source.

    Returns:
        `[B, C, H, W]`; uint8, uint16 or float32 (float32 too where types differ).

    Raises:
        ValueError: There are no indices, or one of the images cannot be read.
    """
    chosen = torch.as_tensor(
        indices if isinstance(indices, Tensor) else list(indices), dtype=torch.int64
    )
    if chosen.numel() == 0:
        raise ValueError("expected at least one index, got none")
    samples = source.__getitems__(chosen.tolist())
    if isinstance(samples, SampleBatch):
        return samples.images
    images = []
    for sample in samples:
        if isinstance(sample, Unreadable):
            raise ValueError(f"cannot read image {sample.name}: {sample.reason}")
        images.append(sample.image)
    return stack_images(images)
