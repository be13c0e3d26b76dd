"""Random erasing (Zhong, Zheng, Kang, Li, Yang, 2017, arXiv 1708.04896) and rectangle masks.

Shapes: `B` samples, `N` rectangles each, `C, H, W` image. A box is `(top, left, height, width)`
in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.rectangles import check_area_and_aspect, draw_rectangles


def rectangle_mask(boxes: Tensor, present: Tensor, size: tuple[int, int]) -> Tensor:
    """Marks the pixels that at least one present rectangle covers.

    Args:
        boxes: `[B, N, 4]`, float, in pixels; empty boxes cover nothing.
        present: `[B, N]`, bool.
        size: `(H, W)` of the image.

    Returns:
        `[B, 1, H, W]`, bool, on the device of `boxes`.
    """
    if boxes.dim() != 3 or boxes.shape[2] != 4 or present.shape != boxes.shape[:2]:
        raise ValueError(
            "boxes must be [B, N, 4] and present [B, N], "
            f"got {[*boxes.shape]} and {[*present.shape]}"
        )
    tops, lefts, heights, widths = boxes[..., None].unbind(dim=2)  # each (B, N, 1)
    y = torch.arange(size[0], device=boxes.device)
    x = torch.arange(size[1], device=boxes.device)
    rows = (y >= tops) & (y < tops + heights) & present[..., None]  # (B, N, H)
    columns = (x >= lefts) & (x < lefts + widths)  # (B, N, W)
    # The product counts rectangles over each pixel without a [B, N, H, W] tensor.
    covered = torch.bmm(rows.float().transpose(1, 2), columns.float())
    return (covered > 0)[:, None]


def erase(images: Tensor, boxes: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """Overwrites rectangles.

    Args:
        images: `[B, C, H, W]`, float in [0, 1].
        boxes: `[B, 4]` or `[B, N, 4]`, float, in pixels; empty boxes erase nothing.
        value: A number, or a tensor that broadcasts to `images`, e.g. `[C, 1, 1]` or noise.

    Returns:
        `[B, C, H, W]`, a new tensor.
    """
    boxes = boxes.to(images.device, non_blocking=True)
    boxes = boxes[:, None] if boxes.dim() == 2 else boxes
    present = torch.ones(boxes.shape[:2], dtype=torch.bool, device=images.device)
    height, width = images.shape[-2:]
    mask = rectangle_mask(boxes, present, (height, width))
    if isinstance(value, Tensor):
        return torch.where(mask, value.to(images), images)
    return images.masked_fill(mask, value)


class RandomErasing(Augmentation):
    """Erases one random rectangle in every sample; `RandomApply` makes it rarer."""

    def __init__(
        self,
        scale: tuple[float, float] = (0.02, 0.33),  # torchvision
        ratio: tuple[float, float] = (0.3, 3.3),  # torchvision
        value: float | tuple[float, ...] = 0.0,
    ) -> None:
        """Takes the ranges.

        Args:
            scale: Lowest and highest area, as fractions of the image's.
            ratio: Lowest and highest height / width.
            value: In [0, 1], one for all channels or one for each.

        Raises:
            ValueError: If a range is empty or out of bounds.
        """
        check_area_and_aspect(scale, ratio)
        values = value if isinstance(value, tuple) else (value,)
        if not values or min(values) < 0 or max(values) > 1:
            raise ValueError(f"value must lie in [0, 1], as the images do, got {value}")
        self.scale = scale
        self.ratio = ratio
        self.value = value

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws `[B, 4]` boxes; empty where no attempt fitted."""
        low, high = self.ratio
        return draw_rectangles(
            shape[:1], shape[2], shape[3], self.scale, (1 / high, 1 / low), generator
        )

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Erases."""
        if not isinstance(self.value, tuple):
            return erase(images, parameters, self.value)
        if len(self.value) not in (1, images.shape[1]):
            raise ValueError(
                f"value has {len(self.value)} channels and the images {images.shape[1]}: "
                "give one number, or one for each channel"
            )
        value = torch.tensor(self.value).to(images.device, non_blocking=True)
        return erase(images, parameters, value[:, None, None])
