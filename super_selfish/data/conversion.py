"""From whatever holds an image to a tensor `[C, H, W]` of uint8, uint16 or float32 in [0, 1].

No pixel is rescaled here and no copy is made that can be avoided: 8-bit images stay 8-bit until
they are augmented. What cannot be an image (values outside the range, other integer types, NaN)
raises `ValueError` or `TypeError` and says what to do.

Shapes: `N, B` images, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_RANGE_TOLERANCE = 1e-3  # interpolation in a user's transform overshoots by about as much


def pil_channels(mode: str) -> int:
    """Number of channels that `image_from_pil` makes of a PIL mode: 1 or 3."""
    return 1 if mode in _GREY_MODES or mode in _DEEP_MODES or mode == "F" else 3


def image_from_pil(image: Image.Image) -> Tensor:
    """Converts a PIL image; alpha is dropped, palettes and other colour spaces become RGB.

    Args:
        image: Any mode. `I` must hold 0..65535, `F` must lie in [0, 1].

    Returns:
        `[1, H, W]` or `[3, H, W]`; uint8, uint16 (modes `I`) or float32 (mode `F`). The memory
        of a colour image is channels-last.
    """
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image)
        if deep.dtype.itemsize > 2:
            low, high = int(deep.min()), int(deep.max())
            if low < 0 or high > 65535:
                raise ValueError(
                    f"images of mode {image.mode} must fit 16 bits (0..65535), got {low}..{high}: "
                    "convert them to 8 or 16 bits"
                )
        return image_from_array(deep.astype(np.uint16))
    if image.mode == "F":
        return image_from_array(np.array(image))
    if image.mode in _GREY_MODES:
        if image.mode == "La":  # premultiplied alpha has no direct way to L
            image = image.convert("LA")
        return image_from_array(np.array(image if image.mode == "L" else image.convert("L")))
    if image.mode == "P" and "transparency" in image.info:  # PIL warns on the direct way
        image = image.convert("RGBA")
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)  # channels last, be it one pixel high


def image_from_array(array: NDArray[np.generic]) -> Tensor:
    """Converts an array; the smaller of first and last axis holds the channels, a tie the last.

    Args:
        array: `[H, W]`, `[H, W, C]` or `[C, H, W]`; bool, uint8, uint16 or float in [0, 1].

    Returns:
        `[C, H, W]`; a view of `array` where that is possible.
    """
    _check_dimensions(tuple(array.shape), "array")
    image = _tensor_of(array)
    if image.ndim == 3 and image.shape[-1] <= image.shape[0]:
        image = image.permute(2, 0, 1)
    elif image.ndim == 2:
        image = image[None]
    return _checked_values(image)


def image_from_tensor(tensor: Tensor) -> Tensor:
    """Converts a tensor; the smaller of first and last axis holds the channels, a tie the first.

    Args:
        tensor: `[H, W]`, `[C, H, W]` or `[H, W, C]`; bool, uint8, uint16 or float in [0, 1].

    Returns:
        `[C, H, W]` on the CPU, detached; a view of `tensor` where that is possible.
    """
    _check_dimensions(tuple(tensor.shape), "tensor")
    image = tensor.detach().cpu()
    if image.ndim == 3 and image.shape[-1] < image.shape[0]:
        image = image.permute(2, 0, 1)
    elif image.ndim == 2:
        image = image[None]
    return _checked_values(image)


def images_from(images: Tensor | NDArray[np.generic]) -> Tensor:
    """Converts several images at once, each to what it would be alone.

    Args:
        images: `[B, H, W]`, `[B, C, H, W]` or `[B, H, W, C]`; a tensor or an array, as above.

    Returns:
        `[B, C, H, W]` on the CPU, detached; a view of `images` where that is possible.
    """
    is_tensor = isinstance(images, Tensor)
    batch = images.detach().cpu() if is_tensor else _tensor_of(images)  # type: ignore[union-attr, arg-type]
    if batch.ndim == 3:
        return _checked_values(batch[:, None])
    first, last = batch.shape[1], batch.shape[3]
    is_last = last < first if is_tensor else last <= first
    return _checked_values(batch.permute(0, 3, 1, 2) if is_last else batch)


def image_from(image: object) -> Tensor:
    """Converts a PIL image, an array or a tensor to `[C, H, W]`.

    Raises:
        TypeError: It is something else.
        ValueError: It cannot be an image.
    """
    if isinstance(image, Image.Image):
        return image_from_pil(image)
    if isinstance(image, Tensor):
        return image_from_tensor(image)
    if isinstance(image, np.ndarray):
        return image_from_array(image)
    raise TypeError(
        f"an image must be a PIL image, a tensor, an array or a file, got {type(image).__name__}"
    )


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """Stacks images to `[B, C, H, W]`; where their types differ, as float32 in [0, 1].

    Args:
        images: `[C, H, W]` each, of one shape. Where one is channels-last, the batch is too: to
            sort its bytes would take longer than to resize it.
    """
    if len({image.dtype for image in images}) > 1:
        images = [to_unit_range(image).float() for image in images]
    if images[0].dtype == torch.uint16:  # older torch neither stacks nor indexes it
        return stack_images([image.view(torch.int16) for image in images]).view(torch.uint16)
    if any(image.stride(0) == 1 and image.shape[0] > 1 for image in images):
        return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return torch.stack(list(images))


def select_images(images: Tensor, indices: Tensor) -> Tensor:
    """Picks `images[indices]` from `[N, C, H, W]` in the same layout, uint16 too.

    Args:
        images: `[N, C, H, W]`, or grey `[N, H, W]`.
        indices: `[B]`, int64, on the same device.
    """
    if images.dtype == torch.uint16:
        return select_images(images.view(torch.int16), indices).view(torch.uint16)
    if (
        images.ndim == 4 and images.stride(1) == 1 and images.shape[1] > 1
    ):  # whole images are copied so
        return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
    return images.index_select(0, indices)


def _check_dimensions(shape: tuple[int, ...], kind: str) -> None:
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"an image {kind} must be [H, W], [C, H, W] or [H, W, C] and not empty, "
            f"got shape {list(shape)}"
        )


def _tensor_of(array: NDArray[np.generic]) -> Tensor:
    """An array of numbers that images may hold, in memory that torch takes."""
    if array.dtype.kind not in "buf" or (array.dtype.kind == "u" and array.dtype.itemsize > 2):
        raise _wrong_dtype(str(array.dtype))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch takes neither read-only nor reversed memory
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(array)


def _wrong_dtype(name: str) -> ValueError:
    return ValueError(
        f"images must be bool, uint8, uint16 or float in [0, 1], got {name}: "
        "convert to uint8 if the values lie in 0..255, to uint16 if they lie in 0..65535"
    )


def _checked_values(image: Tensor) -> Tensor:
    if image.dtype in (torch.uint8, torch.uint16):
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8).mul_(255)
    if not image.dtype.is_floating_point:
        raise _wrong_dtype(str(image.dtype).removeprefix("torch."))
    image = image.to(torch.float32)
    low, high = (float(bound) for bound in torch.aminmax(image))
    if low != low or high != high:
        raise ValueError("images must be finite, got NaN")
    if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
        raise ValueError(
            f"float images must lie in [0, 1], got {low:.4g}..{high:.4g}: leave Normalize out of "
            "the transform, or scale; the supervisor normalises"
        )
    return image.clamp(0, 1) if low < 0 or high > 1 else image
