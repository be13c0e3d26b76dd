"""What a source learns from a look at some of its images: their size and their channels."""

from __future__ import annotations

from super_selfish.data.files import DECODING_ERRORS, FileList, read_header
from super_selfish.data.fitting import Size
from super_selfish.data.item_reader import ItemReader
from super_selfish.data.items import ArrayItems
from super_selfish.data.samples import ReadingError

Shape = tuple[int, int, int]  # (C, H, W)

DEFAULT_SIZE: Size = (225, 225)  # of images whose own sizes differ
SMALLEST_SIDE = 32  # pixels; networks that halve the image five times need it
_PROBED_ITEMS = 32  # decoded, so few
_PROBED_HEADERS = 2000  # about 0.1 ms each


def probed_shapes(source: ItemReader, wants_size: bool) -> list[Shape]:
    """Shapes of some images; of files by their headers, of one array by its first.

    Args:
        source: Where from.
        wants_size: Whether the sizes matter: then many headers are read.

    Raises:
        OSError: An image cannot be read, where such images are not skipped.
        ValueError: The same, or none of the images can be read.
    """
    if isinstance(source.items, ArrayItems):
        indices = [0]
    else:
        many = isinstance(source.items, FileList) and wants_size
        indices = _spread(len(source), _PROBED_HEADERS if many else _PROBED_ITEMS)
    shapes: list[Shape] = []
    failures: list[str] = []
    for index in indices:
        try:
            shapes.append(_shape(source, index))
        except ReadingError as error:
            if source.on_error == "raise":
                source.fail(index, error)
            failures.append(f"{source.name(index)}: {error.reason}")
    if not shapes:
        raise ValueError(f"none of the {len(indices)} images looked at can be read; {failures[0]}")
    return shapes


def default_size(shapes: list[Shape]) -> Size:
    """The size of images if it is one, though no side below 32 pixels; otherwise 225x225."""
    sizes = {(height, width) for _, height, width in shapes}
    if len(sizes) > 1:
        return DEFAULT_SIZE
    height, width = sizes.pop()
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)


def _shape(source: ItemReader, index: int) -> Shape:
    if isinstance(source.items, FileList):
        try:
            height, width, channels = read_header(source.items.files[index])
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error
        return channels, height, width
    image, _ = source.read_whole(index, None)
    return image.shape[0], image.shape[1], image.shape[2]


def _spread(total: int, most: int) -> list[int]:
    """At most `most` indices below `total`, evenly spaced, first and last included."""
    if total <= most:
        return list(range(total))
    return [position * (total - 1) // (most - 1) for position in range(most)]
