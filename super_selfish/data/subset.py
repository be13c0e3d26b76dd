"""Some images of a source, as a source of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from super_selfish.data.known_labels import Labels, chosen_labels, is_our_source
from super_selfish.data.labels import label_at
from super_selfish.data.samples import Batch, Sample, Unreadable
from super_selfish.data.sources import ImageSource


class ImageSubset(ImageSource):
    """Shows some images of a source; the `index` of a sample is its position among them.

    Attributes:
        whole: The source.
        indices: Positions in the source.
    """

    def __init__(self, whole: ImageSource, indices: Sequence[int]) -> None:
        """Chooses; no image is read.

        Args:
            whole: Where from.
            indices: Positions in it, in the order in which they shall stand.

        Raises:
            ValueError: If there is none, or one lies outside the source.
        """
        if len(indices) == 0:
            raise ValueError("expected at least one index, got none")
        if min(indices) < 0 or max(indices) >= len(whole):
            raise ValueError(
                f"indices must lie in [0, {len(whole)}), got {min(indices)} to {max(indices)}: "
                "were they chosen from another dataset?"
            )
        self.whole = whole
        self.indices = list(indices)
        self.dataset = whole.dataset
        self.on_error = whole.on_error
        self.reader = whole.reader
        self.wanted_values = whole.wanted_values
        self.values = whole.values
        self.found = whole.found
        self.items = Subset(whole.items, self.indices)
        self.classes = whole.classes
        self.image_size = whole.image_size
        self.in_channels = whole.in_channels

    @property
    def decodes_files(self) -> bool:
        """Whether every epoch decodes files, which a cache would end."""
        return self.stored is None and self.whole.decodes_files

    def decode(self, index: int) -> Sample | Unreadable:
        """One of the chosen images, as the whole gives it."""
        return self.whole[self.indices[index]]._replace(index=index)

    def select(self, indices: Tensor) -> Batch | None:
        """Some of the chosen images, where those of the whole lie in one piece.

        Args:
            indices: `[B]` int64, none negative.
        """
        if self.stored is not None:
            return self.stored.select(indices)
        if not is_our_source(self.whole):  # one by one, as a class of the user's own gives them
            return None
        batch = self.whole.select(torch.tensor([self.indices[index] for index in indices.tolist()]))
        return None if batch is None else Batch(batch.images, indices, batch.labels)

    def cached(self, path: str | os.PathLike[str], *, progress: bool = True) -> ImageSource:
        """The same subset of a cached whole: one cache serves whatever is chosen from it."""
        return ImageSubset(self.whole.cached(path, progress=progress), self.indices)

    def item(self, index: int) -> Any:
        """The item as the dataset gives it."""
        return self.whole.item(self.indices[self._checked(index)])

    def name(self, index: int) -> str:
        """The path of an image, if it is known, or its place in the dataset."""
        return self.whole.name(self.indices[self._checked(index)])

    def label(self, index: int) -> Tensor | None:
        """The label of one item."""
        return label_at(self.whole, self.indices[self._checked(index)])

    def known_labels(self) -> Labels | None:
        """The labels of the chosen images, if those of the whole are known without reading them."""
        known = self.whole.known_labels() if is_our_source(self.whole) else None
        return None if known is None else chosen_labels(known, self.indices)
