"""Images of a source that were decoded once and are kept in their final form.

Shapes: `N` images of the source, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from super_selfish.data.conversion import select_images
from super_selfish.data.samples import Batch, Sample


class StoredImages(ABC):
    """Gives samples without decoding; those that could not be decoded are left to the source.

    Attributes:
        labels: `[N, ...]` or `None`.
        unreadable: Indices of images that could not be decoded.
    """

    def __init__(self, labels: Tensor | None, unreadable: Iterable[int]) -> None:
        self.labels = labels
        self.unreadable = frozenset(unreadable)

    @abstractmethod
    def images_at(self, indices: Tensor) -> Tensor | None:
        """A copy of some images, `[B, C, H, W]`, for `[B]` int64 indices on the CPU.

        `None` if one of them is no longer what was stored.
        """

    @abstractmethod
    def mend(self, sample: Sample) -> None:
        """Is given an image that was asked for in vain, as it was decoded instead."""

    def sample(self, index: int) -> Sample | None:
        """One sample, or `None` if its image must be decoded."""
        found = self.select(torch.tensor([index]))
        return None if found is None else found[0]._replace(index=index)

    def select(self, indices: Tensor) -> Batch | None:
        """Some samples; `None` if an image among them must be decoded.

        Args:
            indices: `[B]` int64, none negative.
        """
        if self.unreadable and not self.unreadable.isdisjoint(indices.tolist()):
            return None
        labels = self.labels
        if labels is not None:
            labels = labels[indices.to(labels.device, non_blocking=True)]
        images = self.images_at(indices)
        return None if images is None else Batch(images, indices, labels)


class HeldImages(StoredImages):
    """Images that lie on a device as one tensor.

    Attributes:
        images: `[N, C, H, W]`.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, unreadable: Iterable[int]) -> None:
        super().__init__(labels, unreadable)
        self.images = images

    def images_at(self, indices: Tensor) -> Tensor:
        """A copy of some images, on the device."""
        return select_images(self.images, indices.to(self.images.device, non_blocking=True))

    def mend(self, sample: Sample) -> None:
        """Leaves the image away, as in the beginning."""
