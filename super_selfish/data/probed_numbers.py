"""What the numbers of some images are, and which of them are black and white."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from super_selfish.data.fitting import Size
from super_selfish.data.item_reader import ItemReader
from super_selfish.data.samples import ReadingError
from super_selfish.data.value_range import WHITE, ValueRange, WantedRange
from super_selfish.training.counting import plural
from super_selfish.training.telling import warn

_PROBED_VALUES = 16  # images of which the numbers are looked at
_VALUES_AN_IMAGE = 2**14
_OUTLIERS = 0.1  # percent at either end: dead and hot pixels say nothing of the range
_LITTLE = 0.1  # of black to white; images that use less look black, or gray
_MUCH = 0.05  # of the numbers; where more lie beyond the range that was given, too much is cut
_BITS = (8, 10, 12, 14, 16)  # of cameras and detectors


class Numbers(NamedTuple):
    """Some numbers of one image, `[C, n]`, their type, and the extremes of all."""

    values: NDArray[np.float64]
    kind: str
    least: float
    greatest: float


class Found(NamedTuple):
    """What the numbers of some images were.

    Attributes:
        images: How many were looked at.
        kinds: Types of their numbers, sorted.
        low: Least of each channel, outliers excepted.
        high: Greatest of each channel, outliers excepted.
        least: Least of all.
        greatest: Greatest of all.
        beyond: Share of a channel's numbers, 0 to 1, that lie outside of the range that the user
            gave: the most of any channel.
    """

    images: int
    kinds: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    least: float
    greatest: float
    beyond: float = 0.0


def probed_values(source: ItemReader, cover: Size, numbers: list[Numbers]) -> Found | None:
    """Looks at the numbers of some images, spread over the source.

    Args:
        source: Where from.
        cover: Size to which the images will be reduced.
        numbers: What `look` has read already; if it is nothing, some images are read now.

    Returns:
        What was found; `None` if none of them can be read (whoever reads them will say so), or
        they hold no numbers that have a range.

    Raises:
        ValueError: One holds numbers that no image can hold.
    """
    if not numbers:
        for index in spread_over(len(source), _PROBED_VALUES):
            try:
                image, _ = source.read_numbers(index, cover)
                source.check_values(index, image)
            except ReadingError:
                continue
            numbers = [*numbers, *some_numbers(image)]
    if not numbers:
        return None
    channels = max(len(part.values) for part in numbers)
    columns = [part.values for part in numbers if len(part.values) == channels]
    values = np.concatenate(columns, axis=1)
    values = values[:, np.isfinite(values).all(axis=0)]
    if values.shape[1] == 0:
        return None
    low, high = np.percentile(values, (_OUTLIERS, 100 - _OUTLIERS), axis=1)
    return Found(
        images=len(numbers),
        kinds=tuple(sorted({part.kind for part in numbers})),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        least=min(part.least for part in numbers),
        greatest=max(part.greatest for part in numbers),
        beyond=_share_beyond(values, source.wanted_values),
    )


def _share_beyond(values: NDArray[np.float64], wanted: WantedRange) -> float:
    """Share of the numbers `[C, n]` that a given range cuts, of the channel with the most."""
    if not isinstance(wanted, ValueRange) or len(wanted.low) not in (1, len(values)):
        return 0.0
    low, high = (np.array(bounds)[:, None] for bounds in (wanted.low, wanted.high))
    return float(((values < low) | (values > high)).mean(axis=1).max())


def some_numbers(image: Tensor) -> list[Numbers]:
    """Numbers of an image, evenly spread over it; of those without a range, none."""
    if image.dtype == torch.bool or image.dtype.is_complex:
        return []
    kind = str(image.dtype).removeprefix("torch.")
    if image.dtype not in (torch.uint16, torch.int16, torch.uint8):
        image = image.to(torch.float64)  # NumPy knows no bfloat16
    flat = image.contiguous().numpy().reshape(len(image), -1)
    step = max(1, flat.size // _VALUES_AN_IMAGE)
    finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if finite.size == 0:
        return []
    few = flat[:, ::step].astype(np.float64)
    return [Numbers(few, kind, float(finite.min()), float(finite.max()))]


def resolved(wanted: WantedRange, found: Found | None) -> ValueRange | None:
    """The range that a user's word comes to.

    "bits": from 0 to all ones, of 8, 10, 12, 14 or 16 bits, the fewest that hold every number.
    "percentile": from the 0.1th to the 99.9th; of 1 or 3 channels together, so that colours stay
    what they are, of others channel by channel.

    Args:
        wanted: What the user said.
        found: What the numbers of some images were.

    Raises:
        ValueError: No range can be made of what was found.
    """
    if wanted is None or isinstance(wanted, ValueRange):
        if wanted is not None and found is not None and len(found.kinds) > 1:
            _refuse_kinds(found, wanted.plain)
        return wanted
    if found is None:
        raise ValueError(
            f"value_range={wanted!r} looks at the numbers of some images, but none is read that "
            "has some (images of bool are black and white already: leave value_range out)"
        )
    if len(found.kinds) > 1:
        _refuse_kinds(found, wanted)
    if wanted == "bits":
        bits = next((b for b in _BITS if found.greatest <= 2**b - 1), None)
        if found.kinds[0].startswith("float") or found.least < 0 or bits is None:
            raise ValueError(
                "value_range='bits' takes whole numbers from 0 to 65535, but these images are "
                f"{found.kinds[0]} of {found.least:g} to {found.greatest:g}: take 'percentile', or "
                f"({found.least:g}, {found.greatest:g})"
            )
        return ValueRange((0.0,), (float(2**bits - 1),), is_strict=True)
    low, high = found.low, found.high
    if len(low) in (1, 3):
        low, high = (min(low),), (max(high),)
    if any(white <= black for black, white in zip(low, high, strict=True)):
        raise ValueError(
            "value_range='percentile' found a channel of one number only "
            f"({found.low} to {found.high}): give (low, high)"
        )
    return ValueRange(low, high)


def _refuse_kinds(found: Found, wanted: object) -> None:
    raise ValueError(
        f"value_range={wanted!r} is of the numbers of one type, but the images looked at are "
        f"{' and '.join(found.kinds)}: give a source of each type, or convert them to one"
    )


def used_share(found: Found, values: ValueRange | None) -> float | None:
    """How much of black to white the images use, 0 to 1; `None` where one cannot say.

    Args:
        found: What their numbers were.
        values: What is black and white; `None` is what their type says.
    """
    if len(found.kinds) > 1 or found.low == found.high:
        return None
    if values is None:
        white = WHITE.get(getattr(torch, found.kinds[0]), 1.0)
        values = ValueRange((0.0,), (white,))
    channels = len(found.low)
    blacks = values.low * channels if len(values.low) == 1 else values.low
    whites = values.high * channels if len(values.high) == 1 else values.high
    if len(blacks) != channels:
        return None
    shares = [
        max(0.0, min(high, white) - max(low, black)) / (white - black)
        for low, high, black, white in zip(found.low, found.high, blacks, whites, strict=True)
    ]
    return max(shares)


def in_words(found: Found, values: ValueRange | None) -> str:
    """One line: the range found and the range used."""
    numbers = f"{found.least:g} to {found.greatest:g}"
    taken = "as their type says" if values is None else f"{values} as black to white"
    kinds = " and ".join(found.kinds)
    looked = f"{plural(found.images, 'image')} looked at {'is' if found.images == 1 else 'are'}"
    return f"{looked} {kinds} of {numbers}, taken {taken}"


def warn_of_range(found: Found | None, values: ValueRange | None) -> None:
    """Warns where much is cut, or little of black to white is used.

    Args:
        found: What the numbers of some images were.
        values: What is black and white; `None` is what their type says.
    """
    if found is None:
        return
    whose = "(of the supervisor, or of ImageSource)"
    if found.beyond > _MUCH:
        several = "" if len(found.low) == 1 else " of a channel"
        warn(
            f"value_range cuts {found.beyond:.1%} of the numbers{several}, which become plain "
            f"black or white: {in_words(found, values)}; leave it so if that is meant, or give a "
            f"wider value_range=(low, high), 'percentile' or 'bits' {whose}"
        )
    share = used_share(found, values)
    if share is not None and share < _LITTLE:
        warn(
            f"images use {share:.1%} of black to white, so that they look black or gray to the "
            f"network and in reports: {in_words(found, values)}; say what is black and white by "
            f"value_range=(low, high), 'percentile' or 'bits' {whose}"
        )


def spread_over(total: int, most: int) -> list[int]:
    """At most `most` indices below `total`, evenly spaced, first and last included."""
    if total <= most:
        return list(range(total))
    return [position * (total - 1) // (most - 1) for position in range(most)]
