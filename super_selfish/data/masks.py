"""Masks: the class of every pixel of an image, read without changing a number.

A mask is uint8 `[H, W]`: 0 to 254 are classes, 255 stands for pixels that are not counted. A number
between two classes is a class of its own and not a mean of them, so masks are never interpolated:
they are resized by the nearest pixel, and cropped exactly as their images are.

Shapes: `N` masks, `H, W` height, width in pixels, `Y` classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from super_selfish.data.decoding import read_image
from super_selfish.data.fitting import Size, fit_size
from super_selfish.data.items import is_path
from super_selfish.data.raster import open_raster
from super_selfish.data.regular import check_size, open_regular

IGNORED = 255  # pixels of this number count neither in training nor in the score
MASK_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".pbm")
_CHANGING = ("JPEG", "MPO", "WEBP", "GIF")  # formats that blur numbers, or count colours anew
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")  # Pillow's, of one whole number a pixel
_TIFF = (".tif", ".tiff")
_AT_ONCE = 256  # masks


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of a data set at the size of its images.

    Attributes:
        numbers: `[N, H, W]` uint8; 255 throughout for an image that cannot be read and is skipped.
        names: Names of the classes by their number, where they are known; else empty.
    """

    numbers: Tensor
    names: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def counts(self) -> Tensor:
        """`[255]` int64, pixels of each class."""
        parts = self.numbers.split(_AT_ONCE)
        counts = [some.flatten().bincount(minlength=IGNORED + 1) for some in parts]
        return torch.stack(counts).sum(dim=0)[:IGNORED]

    @property
    def classes(self) -> Tensor:
        """`[Y]` int64 ascending, the classes that occur."""
        return self.counts.nonzero().flatten()


def read_mask(mask: Any) -> Tensor:
    """Reads one mask, whatever holds it.

    Args:
        mask: Path of a picture (of a palette its indices are taken), a PIL image, or a tensor or
            array of whole numbers `[H, W]`, `[1, H, W]` or `[H, W, 1]`.

    Returns:
        `[H, W]` uint8 on the CPU.

    Raises:
        OSError: The file cannot be read.
        TypeError: It is none of these, or its numbers are not whole.
        ValueError: It has several channels or pages, is stored by a format that changes numbers,
            or has numbers outside of 0 to 255.
    """
    if is_path(mask):
        return _read_file(os.path.expanduser(os.fspath(mask)))
    if isinstance(mask, Image.Image):
        return _from_picture(mask)
    if isinstance(mask, np.ndarray):
        mask = torch.as_tensor(np.array(mask, dtype=mask.dtype.newbyteorder("=")))
    if not isinstance(mask, Tensor):
        raise TypeError(
            "a mask must be the path of a picture, a PIL image, or a tensor or array [H, W], got "
            f"{type(mask).__name__}"
        )
    return as_mask(mask.detach().cpu())


def as_mask(numbers: Tensor) -> Tensor:
    """Checks numbers and brings them to `[..., H, W]` uint8.

    Args:
        numbers: `[H, W]`, `[1, H, W]` or `[H, W, 1]`; whole, or truth values.

    Raises:
        TypeError: They are not whole.
        ValueError: They are of another shape, or outside of 0 to 255.
    """
    if numbers.ndim == 3 and 1 in (numbers.shape[0], numbers.shape[2]):
        numbers = numbers[0] if numbers.shape[0] == 1 else numbers[..., 0]
    if numbers.ndim != 2 or numbers.numel() == 0:
        raise ValueError(
            f"a mask must be [H, W], one number a pixel, got {list(numbers.shape)}: of colours or "
            "of a channel for each class take the number of the class"
        )
    return checked_numbers(numbers)


def checked_numbers(numbers: Tensor) -> Tensor:
    """Numbers of any shape as uint8.

    Raises:
        TypeError: They are not whole.
        ValueError: One is outside of 0 to 255.
    """
    if numbers.is_floating_point() or numbers.is_complex():
        raise TypeError(
            f"the numbers of a mask must be whole, those of classes, got {numbers.dtype}: convert "
            "masks without scaling them (torchvision's ToTensor divides by 255; PILToTensor not)"
        )
    if numbers.dtype not in (torch.uint8, torch.bool):
        numbers = numbers.to(torch.int64)
        low, high = numbers.aminmax()
        if low < 0 or high > IGNORED:
            raise ValueError(
                f"a mask has numbers of classes from 0 to 254, and {IGNORED} for pixels that do "
                f"not count, got {int(low)} to {int(high)}"
            )
    return numbers.to(torch.uint8)


def fit_mask(mask: Tensor, size: Size) -> Tensor:
    """Brings masks to a size as `fit_size` brings their images: the same pixels stay.

    Args:
        mask: `[..., H, W]` uint8.
        size: `(height, width)` wanted, in pixels.

    Returns:
        `[..., height, width]` uint8, each number one that was there.
    """
    if mask.shape[-2:] == size:
        return mask
    return fit_size(mask[..., None, :, :], size, nearest=True)[..., 0, :, :]


def _read_file(path: str) -> Tensor:
    if path.lower().endswith(_TIFF):
        return as_mask(read_image(path))
    with open_regular(path) as file, open_raster(file) as image:
        if image.format in _CHANGING:
            raise ValueError(
                f"it is a {image.format}, which changes numbers: store masks as PNG from the start"
            )
        check_size(image.width * image.height, file)
        return _from_picture(image, upright=True)


def _from_picture(image: Image.Image, *, upright: bool = False) -> Tensor:
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        raise ValueError(f"a mask must be one picture, got {frames} in one file")
    if image.mode not in _MODES:
        raise ValueError(
            f"a mask must have one whole number a pixel, got a picture of mode {image.mode}: where "
            "colours stand for classes, give the numbers of the classes"
        )
    if upright:
        image = ImageOps.exif_transpose(image)
    return as_mask(torch.from_numpy(np.array(image).astype(np.int64)))
