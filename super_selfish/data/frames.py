"""What a file holds: one or more images (frames), each of which is decoded on demand.

Files of several images are animations, stacks of planes, scans of several pages, volumes. Which
of them is *the* image, nobody can know but the user: `pages` says so.

Shapes: `F` frames of a file; `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from super_selfish.data.fitting import Size
from super_selfish.training.plain import plain_setting

Shape = tuple[int, int, int]  # (C, H, W)
Pages = Literal["channels", "frames", "slices"] | int | None


class Slice(int):
    """The number of a slice, of which the volumes of its file are channels (`pages="slices"`)."""


class Frames(ABC):
    """The images of one open file.

    Attributes:
        count: Number of images, `F`.
        noun: What they are called in this format.
    """

    count: int
    noun: str = "pages"

    @abstractmethod
    def shape(self, frame: int) -> Shape:
        """Shape of an image as `read` gives it; decodes no pixel where the format allows it."""

    @abstractmethod
    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Decodes an image, `[C, H, W]` of any number type.

        Args:
            frame: Position.
            cover: Size to which the image will be reduced, if it will be.
        """

    def close(self) -> None:  # noqa: B027  # most have nothing open but their file
        """Ends what was opened beside the file."""


def parse_pages(pages: Any) -> Pages:
    """Checks the option `pages`.

    Raises:
        ValueError: It is none of its values.
    """
    pages = plain_setting(pages)
    if pages is None or (isinstance(pages, str) and pages in ("channels", "frames", "slices")):
        return pages  # type: ignore[return-value]
    if isinstance(pages, bool) or not isinstance(pages, int) or pages < 0:
        raise ValueError(
            "pages must be 'channels' (the pages of a file are channels of one image), 'frames' "
            "(each is an image), 'slices' (each slice of a NIfTI file is one, with its volumes as "
            f"channels) or the number of the one page to read, from 0; got {pages!r}"
        )
    return pages


def are_slices(pages: Pages) -> bool:
    """Whether the volumes of a file are channels of its slices."""
    return pages == "slices" or isinstance(pages, Slice)


def chosen_shape(frames: Frames, pages: Pages) -> Shape:
    """Shape of the image that `read_chosen` will give."""
    if pages != "channels":
        return frames.shape(_place(frames, pages))
    shapes = [frames.shape(frame) for frame in range(frames.count)]
    _require_one_size(shapes, frames)
    return sum(shape[0] for shape in shapes), *shapes[0][1:]


def read_chosen(frames: Frames, pages: Pages, cover: Size | None = None) -> Tensor:
    """The image of a file, `[C, H, W]` of any number type.

    Args:
        frames: The file.
        pages: `"channels"` puts all images of the file on top of each other, a number chooses one;
            `None` takes the only one.
        cover: Size to which the image will be reduced, if it will be.

    Raises:
        ValueError: There are several, and nobody said which; or there is no such one; or they
            differ in size and cannot be channels of one image.
    """
    if pages != "channels":
        return frames.read(_place(frames, pages), cover)
    images = [frames.read(frame, cover) for frame in range(frames.count)]
    _require_one_size([(len(image), *image.shape[1:]) for image in images], frames)
    if len({image.dtype for image in images}) > 1:
        raise ValueError(f"its {frames.noun} differ in type and cannot be channels of one image")
    if images[0].dtype == torch.uint16:  # older torch does not join it
        return torch.cat([image.view(torch.int16) for image in images]).view(torch.uint16)
    return torch.cat(images)


def _place(frames: Frames, pages: Pages) -> int:
    if isinstance(pages, int):
        if pages >= frames.count:
            raise ValueError(f"there is no page {pages}: it has {frames.count}, counted from 0")
        return pages
    if frames.count > 1:
        raise ValueError(
            f"it holds {frames.count} {frames.noun}, and which of them is the image is for you to "
            "say: pages='channels' (all, as channels of one image), pages='frames' (each is an "
            "image) or pages=0 (the first alone)"
        )
    return 0


def _require_one_size(shapes: list[Shape], frames: Frames) -> None:
    sizes = sorted({shape[1:] for shape in shapes})
    if len(sizes) > 1:
        raise ValueError(
            f"its {frames.noun} differ in size ({sizes[0]}, {sizes[1]}) and cannot be channels of "
            "one image: pages='frames' makes each an image, pages=0 takes the first"
        )
