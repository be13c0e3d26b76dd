"""Crops that are resized, every sample with a box of its own.

Small images, and every image on an accelerator: two batched matrix products, whose matrices fold
crop, antialiasing and flip (interpolation.py). Large images on a CPU: one antialiased resize at a
time, while the crop lies in the cache; measured 4 times (float) and 10 times (uint8) as fast at
225 pixels.

Shapes: `B` samples, `C, H, W` image, `h, w` output size. A box is `(top, left, height, width)`
in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape, to_unit_range
from super_selfish.augmentations.crops import (
    RandomCrop,
    RandomHorizontalFlip,
    Size,
    as_size,
    check_probability,
    crop,
    horizontal_flip,
)
from super_selfish.augmentations.interpolation import Mode, check_mode, interpolation_matrices
from super_selfish.augmentations.rectangles import check_area_and_aspect, draw_rectangles

__all__ = [  # with the crops that mix no pixels (crops.py), so that all crops have one address
    "Crops",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "Size",
    "as_size",
    "crop",
    "horizontal_flip",
    "resize",
    "resized_crop",
]

LARGE = 80  # pixels a side; measured: at 64 two products win, at 96 one image at a time


def resized_crop(
    images: Tensor,
    boxes: Tensor,
    size: Size,
    flip: Tensor | None = None,
    mode: Mode = "bilinear",
    antialias: bool = True,
) -> Tensor:
    """Cuts a box out of each image and resizes it, mirrored where asked.

    Agrees with torchvision's `resized_crop` for whole-numbered boxes. Boxes on the CPU are
    checked; on an accelerator that would stop the queue, and what lies outside is not used.

    Args:
        images: `[B, C, H, W]`, float in [0, 1], uint8 or uint16.
        boxes: `[B, 4]`, float, in pixels, inside the image, each side at least 1.
        size: Of the result, in pixels.
        flip: `[B]` bool, mirror left and right; `None` for never.
        mode: Kernel; bicubic results are clamped to [0, 1].
        antialias: Widen the kernel where the image shrinks.

    Returns:
        `[B, C, h, w]`, float in [0, 1].

    Raises:
        ValueError: If the boxes do not match the images, or the mode is unknown.
        TypeError: If the images are neither uint8, uint16 nor float.
    """
    check_mode(mode)
    outputs = as_size(size)
    _check_boxes(images, boxes)
    on_cpu = images.device.type == boxes.device.type == "cpu"
    is_large = images.shape[-2] * images.shape[-1] > LARGE * LARGE
    if on_cpu and is_large and antialias and torch.equal(boxes, boxes.round()):
        result = _resized_crop_one_by_one(images, boxes, outputs, flip, mode)
    else:
        result = _resized_crop_batched(images, boxes, outputs, flip, mode, antialias)
    return result.clamp_(0.0, 1.0) if mode == "bicubic" else result


def _resized_crop_batched(
    images: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    flip: Tensor | None,
    mode: Mode,
    antialias: bool,
) -> Tensor:
    """Two batched matrix products: columns, then rows."""
    batch, channels, height, width = images.shape
    images = to_unit_range(images)
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    boxes = boxes.to(images.device, dtype, non_blocking=True)
    if flip is not None:
        flip = flip.to(images.device, non_blocking=True)
    tops, lefts, heights, widths = boxes.unbind(dim=1)
    rows = interpolation_matrices(tops, heights, height, size[0], None, mode, antialias)
    columns = interpolation_matrices(lefts, widths, width, size[1], flip, mode, antialias)
    rows, columns = rows.to(images.dtype), columns.to(images.dtype)
    # Channels share their matrix: they stand in the rows of the first product, not in its batch.
    lines = torch.bmm(images.reshape(batch, channels * height, width), columns.transpose(1, 2))
    lines = lines.view(batch, channels, height, size[1])
    return torch.matmul(rows[:, None], lines)  # (B, C, h, w)


def _resized_crop_one_by_one(
    images: Tensor, boxes: Tensor, size: tuple[int, int], flip: Tensor | None, mode: Mode
) -> Tensor:
    """PyTorch's own antialiased resize of each crop, while it lies in the cache.

    Bilinear uint8 is resized as uint8, channels-last, which has the fastest kernel; whole grey
    levels make it differ from the float result by up to 1.5/255. Bicubic uint8 is not: its kernel
    clamps between the two axes, which is 16/255 on noise.
    """
    is_bytes = images.dtype == torch.uint8 and mode == "bilinear"
    if not is_bytes:
        images = to_unit_range(images)
    layout = torch.channels_last if is_bytes else torch.contiguous_format
    shape = (*images.shape[:2], *size)
    results = torch.empty(shape, dtype=images.dtype, memory_format=layout)
    mirrored = [False] * len(images) if flip is None else flip.tolist()
    for index, (top, left, height, width) in enumerate(boxes.to(torch.int64).tolist()):
        view = images[index : index + 1, :, top : top + height, left : left + width]
        view = (view.flip(-1) if mirrored[index] else view).contiguous(memory_format=layout)
        results[index : index + 1] = F.interpolate(
            view, size=size, mode=mode, align_corners=False, antialias=True
        )
    if not is_bytes:
        return results
    return results.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)


def _check_boxes(images: Tensor, boxes: Tensor) -> None:
    height, width = images.shape[-2:]
    if boxes.shape != (len(images), 4):
        raise ValueError(f"boxes must be [{len(images)}, 4], one per image, got {[*boxes.shape]}")
    if boxes.device.type != "cpu" or len(boxes) == 0:
        return
    ends = boxes[:, :2] + boxes[:, 2:]
    outside = bool((boxes[:, :2] < 0).any() | (ends > torch.tensor([height, width])).any())
    if outside or bool((boxes[:, 2:] < 1).any()):
        raise ValueError(
            f"boxes must lie inside the {height}x{width} image and be at least 1 pixel high and "
            "wide: clamp them first"
        )


def resize(images: Tensor, size: Size, mode: Mode = "bilinear") -> Tensor:
    """Resizes every image to the same size, antialiased.

    Args:
        images: `[B, C, H, W]`, float in [0, 1], uint8 or uint16.
        size: Of the result, in pixels.
        mode: Kernel; bicubic results are clamped to [0, 1].

    Returns:
        `[B, C, h, w]`, float in [0, 1].

    Raises:
        ValueError: If the mode is unknown or the size is not positive.
        TypeError: If the images are neither uint8, uint16 nor float.
    """
    check_mode(mode)
    outputs = as_size(size)
    images = to_unit_range(images)
    if images.shape[-2:] == outputs:
        return images
    result = F.interpolate(images, size=outputs, mode=mode, align_corners=False, antialias=True)
    return result.clamp_(0.0, 1.0) if mode == "bicubic" else result


class Resize(Augmentation):
    """Brings images, as stacked, to a size, and to float in [0, 1]; draws nothing."""

    def __init__(self, size: Size) -> None:
        """Args: size: Side or (height, width) in pixels."""
        self.size = as_size(size)

    def draw(self, shape: Shape, generator: torch.Generator) -> None:
        """Draws nothing."""

    def apply(self, images: Tensor, parameters: None) -> Tensor:
        """Resizes `[B, C, H, W]`, uint8, uint16 or float, unless it has the size already."""
        return resize(images, self.size)

    def output_shape(self, shape: Shape) -> Shape:
        """The size asked for."""
        return (*shape[:2], *self.size)


class Crops(NamedTuple):
    """Boxes to cut out and samples to mirror."""

    boxes: Tensor  # (B, 4) float, top, left, height, width in pixels
    flip: Tensor  # (B,) bool


class RandomResizedCrop(Augmentation):
    """Cuts out a box of random area and aspect and resizes it (arXiv 1409.4842, section 6).

    Parameters follow torchvision: area uniform, aspect log-uniform, a whole-numbered box, ten
    attempts, then the largest centred box whose aspect is allowed.
    """

    def __init__(
        self,
        size: Size,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        *,
        mode: Mode = "bilinear",
        p_flip: float = 0.0,
    ) -> None:
        """Takes the ranges.

        Args:
            size: Of the result, in pixels.
            scale: Lowest and highest area, as fractions of the image's.
            ratio: Lowest and highest width / height.
            mode: Kernel, always antialiased.
            p_flip: Probability of mirroring left and right in the same resampling.

        Raises:
            ValueError: If a range is empty, `p_flip` no probability or the mode unknown.
        """
        self.size = as_size(size)
        check_area_and_aspect(scale, ratio)
        check_mode(mode)
        check_probability("p_flip", p_flip)
        self.scale = scale
        self.ratio = ratio
        self.mode: Mode = mode
        self.p_flip = p_flip

    def draw(self, shape: Shape, generator: torch.Generator) -> Crops:
        """Draws a box and a flip per sample."""
        batch, _, height, width = shape
        boxes = draw_rectangles(
            (batch,), height, width, self.scale, self.ratio, generator, may_span=True
        )
        boxes = torch.where(boxes[:, 2:3] > 0, boxes, self._central_box(height, width))
        return Crops(boxes, torch.rand(batch, generator=generator) < self.p_flip)

    def _central_box(self, height: int, width: int) -> Tensor:
        low, high = self.ratio
        box_height, box_width = height, width
        if width / height < low:
            box_height = max(1, round(width / low))
        elif width / height > high:
            box_width = max(1, round(height * high))
        top, left = (height - box_height) // 2, (width - box_width) // 2
        return torch.tensor([top, left, box_height, box_width], dtype=torch.float32)

    def apply(self, images: Tensor, parameters: Crops) -> Tensor:
        """Crops, resizes and mirrors; takes uint8 as well."""
        flip = parameters.flip if self.p_flip > 0 else None
        return resized_crop(images, parameters.boxes, self.size, flip, self.mode)

    def output_shape(self, shape: Shape) -> Shape:
        """The size asked for."""
        return (*shape[:2], *self.size)
