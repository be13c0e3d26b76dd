"""Two augmented views of each image: what contrastive algorithms eat."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation
from super_selfish.data.collate import Batch, Collator


class TwoViews(NamedTuple):
    """Two views of the same images."""

    first: Tensor  # (B, C, H, W)
    second: Tensor  # (B, C, H, W)
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the dataset


class TwoViewCollator(Collator):
    """Augments each image twice, independently."""

    def __init__(self, first: Augmentation, second: Augmentation) -> None:
        """Takes the recipe of each view; they take images as stacked, uint8 too."""
        super().__init__()
        self.first = first
        self.second = second

    def augment(self, batch: Batch, generator: torch.Generator) -> TwoViews:
        """Makes the views."""
        return TwoViews(
            self.first(batch.images, generator), self.second(batch.images, generator), batch.index
        )
