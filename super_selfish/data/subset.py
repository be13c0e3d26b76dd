"""Some images of a source, as a source of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Subset

from super_selfish.data.sources import ImageSource, Sample, Unreadable


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
        self.items = Subset(whole.items, self.indices)
        self.classes = whole.classes
        self.image_size = whole.image_size
        self.in_channels = whole.in_channels

    def __getitem__(self, index: int) -> Sample | Unreadable:
        """Reads one of the chosen images."""
        position = self._checked(index)
        return self.whole[self.indices[position]]._replace(index=position)

    def raw(self, index: int) -> Any:
        """The item as the dataset gives it."""
        return self.whole.raw(self.indices[self._checked(index)])

    def name(self, index: int) -> str:
        """The path of an image, if it is known, or its place in the dataset."""
        return self.whole.name(self.indices[self._checked(index)])

    def batch(self) -> Tensor | None:
        """None: the chosen images do not lie side by side."""
        return None

    def label(self, index: int) -> Tensor | None:
        """The label of one item."""
        return self.whole.label(self.indices[self._checked(index)])
