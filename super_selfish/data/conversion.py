"""From whatever holds an image to a tensor `[C, H, W]` of uint8, uint16 or float32 in [0, 1].

No copy is made that can be avoided: 8-bit images stay 8-bit until they are augmented. No pixel is
rescaled, unless a `ValueRange` says which numbers are black and white. What cannot be an image
(values outside the range, other integer types without a range, NaN) raises `ValueError` or
`TypeError` and says what to do.

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
from super_selfish.data.axes import channels_are_last
from super_selfish.data.value_range import NoImageError, ValueRange
from super_selfish.training.telling import warn

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
# In which a palette, or one grey or colour, may be transparent (tRNS of a PNG).
_KEYS: dict[str, tuple[type, ...]] = {"P": (bytes, int), "1": (int,), "L": (int,), "RGB": (tuple,)}
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
RANGE_TOLERANCE = 1e-3  # interpolation in a user's transform overshoots by about as much


def pil_channels(image: Image.Image, *, alpha: bool = False) -> int:
    """Number of channels that `numbers_from_pil` makes of a picture."""
    mode = image.mode
    if mode == "RGBX":  # a fourth band that is no alpha
        return 4
    with_alpha = int(alpha and has_alpha(image))
    return with_alpha + (1 if mode in _GREY_MODES or mode in _DEEP_MODES or mode == "F" else 3)


def numbers_from_pil(image: Image.Image, *, alpha: bool = False) -> Tensor:
    """A PIL image as `[C, H, W]`; palettes and other colour spaces become RGB.

    Args:
        image: Any mode.
        alpha: Whether alpha is kept where there is some, as last channel, or left out.

    Returns:
        `[1, H, W]` or `[3, H, W]`; uint8, uint16 (modes `I` that fit), int32 or float32 (mode `F`).
        The memory of a colour image is channels-last.
    """
    if image.mode in _DEEP_MODES:
        deep = np.asarray(image)
        if isinstance(key := image.info.get("transparency"), int):
            tell_of_alpha(
                not (deep == key).any(), "8 bits, or an alpha channel of its own, keep it"
            )
        fits = deep.dtype.itemsize == 2 or (int(deep.min()) >= 0 and int(deep.max()) <= 65535)
        return number_tensor(deep.astype(np.uint16 if fits else np.int32))[None]
    if image.mode == "F":
        return torch.from_numpy(np.array(image))[None]
    if alpha and has_alpha(image):
        plain = "LA" if image.mode in _GREY_MODES else "RGBA"
        return _channels_first(image if plain == image.mode else image.convert(plain))
    if has_alpha(image):
        image = _without_alpha(image)
    if image.mode in _GREY_MODES:
        return torch.from_numpy(np.array(image if image.mode == "L" else image.convert("L")))[None]
    if image.mode == "RGBX":
        return _channels_first(image)
    return _channels_first(image if image.mode == "RGB" else image.convert("RGB"))


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture has an alpha channel, or a palette with alpha."""
    if image.mode in _ALPHA_MODES:
        return True
    kind = _KEYS.get(image.mode)
    return kind is not None and isinstance(image.info.get("transparency"), kind)


def _without_alpha(image: Image.Image) -> Image.Image:
    """The colours or the grey of a picture with alpha."""
    # Premultiplied alpha and palettes have no direct way: Pillow refuses, or warns.
    is_grey = image.mode in _GREY_MODES
    image = image.convert("LA" if is_grey else "RGBA")
    tell_of_alpha(image.getchannel("A").getextrema()[0] == 255)
    return image.convert("L" if is_grey else "RGB")


def tell_of_alpha(is_opaque: bool, remedy: str = "in_channels=4 (2 for grey) keeps it") -> None:
    """Warns, once, where alpha is left out that says something.

    Args:
        is_opaque: Whether it is the highest everywhere.
        remedy: What keeps it.
    """
    if not is_opaque:
        warn(
            f"an alpha channel is left out that is not opaque everywhere: {remedy}, be it "
            "transparency or a band that is only called so"
        )


def _channels_first(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)  # channels last, be it one pixel high


def number_tensor(array: NDArray[np.generic]) -> Tensor:
    """An array of numbers as a tensor, of the same values; a view where that is possible.

    Raises:
        ValueError: It holds no real numbers.
    """
    if array.dtype.kind not in "buif":
        raise ValueError(f"images must hold real numbers, got {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "u" and array.dtype.itemsize > 2:  # torch hardly knows them
        array = array.astype(np.int64 if array.dtype.itemsize == 4 else np.float64)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch takes neither read-only nor reversed memory
    return torch.from_numpy(array)


def plain(tensor: Tensor) -> Tensor:
    """The numbers of a tensor on the CPU: without gradient, and without its kind.

    MONAI's and torchvision's kinds of tensors keep notes, which they copy at each operation and
    which batches of them would join.
    """
    return tensor.detach().cpu().as_subclass(Tensor)


def _known_numbers(tensor: Tensor) -> Tensor:
    """Long unsigned integers in a type of which torch can do more than hold them."""
    if tensor.dtype in (torch.uint32, torch.uint64):
        return number_tensor(tensor.numpy())
    return tensor


def numbers_from_array(array: NDArray[np.generic], channels: int | None = None) -> Tensor:
    """An array as `[C, H, W]`.

    Args:
        array: `[H, W]`, `[H, W, C]` or `[C, H, W]`, of any numbers.
        channels: How many the user says there are.

    Raises:
        ValueError: It has other dimensions, no real numbers, or an unclear axis of channels; see
            `axes.channels_are_last`.
    """
    _check_dimensions(tuple(array.shape), "array")
    return _channels_to_front(number_tensor(array), channels, is_array=True)


def numbers_from_tensor(tensor: Tensor, channels: int | None = None) -> Tensor:
    """A tensor as `[C, H, W]`.

    Args:
        tensor: `[H, W]`, `[C, H, W]` or `[H, W, C]`, of any numbers.
        channels: How many the user says there are.

    Returns:
        On the CPU, detached; a view of `tensor` where that is possible.

    Raises:
        ValueError: As of an array.
    """
    _check_dimensions(tuple(tensor.shape), "tensor")
    return _channels_to_front(_known_numbers(plain(tensor)), channels, is_array=False)


def _channels_to_front(image: Tensor, channels: int | None, *, is_array: bool) -> Tensor:
    if image.ndim == 2:
        return image[None]
    is_last = channels_are_last(image.shape, is_array=is_array, wanted=channels)
    return image.permute(2, 0, 1) if is_last else image


def images_from(
    images: Tensor | NDArray[np.generic],
    values: ValueRange | None = None,
    channels: int | None = None,
) -> Tensor:
    """Converts several images at once, each to what it would be alone.

    Args:
        images: `[B, H, W]`, `[B, C, H, W]` or `[B, H, W, C]`; a tensor or an array, as above.
        values: Which numbers are black and white.
        channels: How many the user says there are.

    Returns:
        `[B, C, H, W]` on the CPU, detached; a view of `images` where that is possible.
    """
    is_tensor = isinstance(images, Tensor)
    batch = _known_numbers(plain(images)) if isinstance(images, Tensor) else number_tensor(images)
    if batch.ndim == 3:
        return checked_values(batch[:, None], values)
    is_last = channels_are_last(batch.shape[1:], is_array=not is_tensor, wanted=channels)
    return checked_values(batch.permute(0, 3, 1, 2) if is_last else batch, values)


def numbers_from(image: object, channels: int | None = None) -> Tensor:
    """A PIL image, an array or a tensor as `[C, H, W]`, its numbers as they are.

    Args:
        image: The image.
        channels: How many an array or tensor has, by the user's word.

    Raises:
        TypeError: It is something else.
        ValueError: It has other dimensions, an unclear axis of channels, or numbers that are not
            real.
    """
    if isinstance(image, Image.Image):
        return numbers_from_pil(image)
    if isinstance(image, Tensor):
        return numbers_from_tensor(image, channels)
    if isinstance(image, np.ndarray):
        return numbers_from_array(image, channels)
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


def checked_values(image: Tensor, values: ValueRange | None = None) -> Tensor:
    """Numbers as images hold them.

    Args:
        image: Numbers of any type and shape `[..., C, H, W]`.
        values: Which of them are black and white; left out, what the type says.

    Returns:
        uint8, uint16 or float32 in [0, 1].

    Raises:
        ValueError: They cannot be an image; says what to do.
    """
    if image.dtype == torch.bool:
        return image.to(torch.uint8).mul_(255)
    if image.dtype.is_complex:
        raise ValueError("images must hold real numbers, got complex ones")
    if values is not None:
        return values.apply(image)
    if image.dtype in (torch.uint8, torch.uint16):
        return image
    if not image.dtype.is_floating_point:
        least, most = (int(bound) for bound in torch.aminmax(image))
        raise ValueError(
            "images must be bool, uint8, uint16 or float in [0, 1], got "
            f"{str(image.dtype).removeprefix('torch.')} of {least}..{most}: convert to uint8 if "
            "the values lie in 0..255, or say which are black and white: value_range=(low, high), "
            "or value_range='percentile', which finds out"
        )
    image = image.to(torch.float32)
    low, high = (float(bound) for bound in torch.aminmax(image))
    if low != low or high != high:
        raise NoImageError("images must be finite, got NaN")
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        raise NoImageError(
            f"float images must lie in [0, 1], got {low:.4g}..{high:.4g}: leave Normalize out of "
            "the transform, since the supervisor normalises, or say which values are black and "
            "white by value_range=(low, high) or value_range='percentile'"
        )
    return image.clamp(0, 1) if low < 0 or high > 1 else image
