"""What a source learns from a look at some of its images: their sizes, channels and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from super_selfish.data.files import FileList
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Shape
from super_selfish.data.item_reader import ItemReader
from super_selfish.data.items import ArrayItems
from super_selfish.data.probed_numbers import Numbers, some_numbers, spread_over
from super_selfish.data.samples import ReadingError
from super_selfish.training.counting import plural

DEFAULT_SIZE: Size = (225, 225)  # of images whose own sizes differ
SMALLEST_SIDE = 32  # pixels; networks that halve the image five times need it
_PROBED_ITEMS = 32  # decoded, so few
_PROBED_HEADERS = 2000  # about 0.1 ms each


class Look(NamedTuple):
    """What some images were.

    Attributes:
        shapes: Of each.
        indices: Which they were.
        numbers: Some numbers of those that were read as a whole, `[C, n]` each, and their type.
    """

    shapes: list[Shape]
    indices: list[int]
    numbers: list[Numbers]


def look(source: ItemReader) -> Look:
    """Looks at some images: of files at their headers, of one array at the first, else at all.

    Where unreadable images are skipped and all of these are, it goes on to the first that is not.

    Args:
        source: Where from.

    Raises:
        OSError: An image cannot be read, where such images are not skipped.
        ValueError: The same, or none of the images can be read, or one is no image.
    """
    if isinstance(source.items, ArrayItems):
        indices = [0]
    else:
        has_headers = isinstance(source.items, FileList) and source.reader.loader is None
        indices = spread_over(len(source), _PROBED_HEADERS if has_headers else _PROBED_ITEMS)
    found = Look([], [], [])
    failure, number = "", 0
    for number, index in enumerate(chain(indices, _others(len(source), indices)), start=1):
        if found.shapes and number > len(indices):
            break
        try:
            _look_at(source, index, found)
            found.indices.append(index)
        except ReadingError as error:
            if source.on_error == "raise":
                source.fail(index, error)
            failure = failure or f"{source.name(index)}: {error.reason}"
    if not found.shapes:
        looked = plural(number, "image")
        raise ValueError(f"none can be read of {looked} looked at; {failure}")
    return found


def _others(total: int, indices: list[int]) -> Iterator[int]:
    looked_at = set(indices)
    return (index for index in range(total) if index not in looked_at)


def _look_at(source: ItemReader, index: int, found: Look) -> None:
    if isinstance(source.items, FileList):
        shape = source.reader.shape(source.items, index)
        if shape is not None:
            found.shapes.append(shape)
            return
    image, _ = source.read_numbers(index, None)
    source.check_values(index, image)
    found.shapes.append((image.shape[0], image.shape[1], image.shape[2]))
    if not isinstance(source.items, ArrayItems):
        found.numbers.extend(some_numbers(image))


def default_size(shapes: list[Shape]) -> Size:
    """The size of images if it is one, though no side below 32 pixels; otherwise 225x225."""
    sizes = {(height, width) for _, height, width in shapes}
    if len(sizes) > 1:
        return DEFAULT_SIZE
    height, width = sizes.pop()
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)


def size_in_words(shapes: list[Shape], size: Size) -> str | None:
    """A line on a size that nobody asked for; `None` where images keep their own.

    Args:
        shapes: Of the images that were looked at.
        size: What `default_size` makes of them.
    """
    sizes = {(height, width) for _, height, width in shapes}
    if sizes == {size}:
        return None
    if len(sizes) > 1:
        before, why = "of different sizes", "networks take images of one size"
    else:
        height, width = sizes.pop()
        before = f"of {height}x{width} pixels"
        why = f"networks need sides of {SMALLEST_SIDE} pixels"
    return f"Images {before} become {size[0]}x{size[1]}, as {why}; image_size= takes another size"
