"""Pictures that Pillow opens: which formats, how many frames, and what it would cut of them.

Only raster formats that Pillow decodes itself are opened, whatever a file's ending says: PostScript
would be handed to another program. Where Pillow gives 8 bits of a picture that has more, it is
read by other means (PNG, PNM) or refused (JPEG 2000, AVIF).

Shapes: `F` frames of a file; `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

import functools
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from super_selfish.data.conversion import (
    number_tensor,
    numbers_from_pil,
    pil_channels,
    tell_of_alpha,
)
from super_selfish.data.deep import deep_png, deep_pnm, lossy_bits
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Pages, Shape, read_chosen
from super_selfish.data.orientation import is_turned, upright
from super_selfish.data.regular import check_size

# TIFF is tifffile's; what else Pillow knows has vectors, calls other programs, or has more bits
# than Pillow gives.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "PPM", "TGA", "PCX", "ICO", "QOI"),
    *("JPEG2000", "AVIF"),
)
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE = 258  # TIFF tag
_CUT_TO_8 = (";16B", ";16L", ";16N")  # how Pillow calls colour of which it takes the high byte


@functools.cache
def raster_formats() -> tuple[str, ...]:
    """Names of the formats that are opened, of those that this Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def open_raster(file: BinaryIO) -> Image.Image:
    """Opens a picture, of raster formats only; decodes nothing.

    Args:
        file: Open for reading.

    Raises:
        OSError: It is none of these.
    """
    return Image.open(file, formats=raster_formats())


class RasterFrames(Frames):
    """The images of an open picture.

    Attributes:
        image: As it was opened.
    """

    noun = "frames"

    def __init__(self, image: Image.Image, pages: Pages = None, *, alpha: bool = False) -> None:
        """Looks at the header.

        Args:
            image: As `open_raster` opens it.
            pages: Whether several frames matter.
            alpha: Whether an alpha channel is kept.
        """
        self.image = image
        self._alpha = alpha
        # A photograph that a telephone stores with a smaller copy, depth or a gain map is MPO: its
        # first image is the photograph, by the standard.
        is_one = image.format == "JPEG" or (image.format == "MPO" and pages is None)
        is_several = not is_one and getattr(image, "is_animated", False)
        self.count = int(getattr(image, "n_frames", 1)) if is_several else 1

    def shape(self, frame: int) -> Shape:
        """Shape of an image by its header."""
        image = self.image
        if frame:
            image.seek(frame)
        width, height = image.size
        # A PNG without early EXIF would be decoded in search of late EXIF: not for a header.
        searchable = image.format != "PNG" or "exif" in image.info
        if searchable and is_turned(orientation(image)):
            width, height = height, width
        return self._channels(), height, width

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Decodes an image, `[C, H, W]`."""
        image = self.image
        if self.count > 1:
            image.seek(frame)
        check_size(image.width * image.height * 8)
        if is_cut_by_pillow(image):
            return self._deep(image)
        if cover is not None and image.format == "JPEG":
            longest = 2 * max(cover)  # it may have to be turned
            image.draft(None, (longest, longest))
        image.load()
        turned = image if orientation(image) == 1 else ImageOps.exif_transpose(image)
        return numbers_from_pil(turned, alpha=self._alpha)

    def _channels(self) -> int:
        if _raw_modes(self.image) == ["LA;16B"]:  # which Pillow makes RGBA
            return 1 + int(self._alpha)
        return pil_channels(self.image, alpha=self._alpha)

    def _deep(self, image: Image.Image) -> Tensor:
        """More than 8 bits of colour, all of them."""
        file: BinaryIO = getattr(image, "fp")  # noqa: B009  # that of `open_raster`
        if self.count > 1 or image.format not in ("PNG", "PPM"):
            raise ValueError(
                f"it is {image.format} with more than 8 bits a channel, of which 8 would be read: "
                "convert it to PNG or TIFF, or read it by a loader="
            )
        file.seek(0)
        content = file.read()
        pixels = deep_png(content) if image.format == "PNG" else deep_pnm(content)  # [H, W, C]
        if not self._alpha and pixels.shape[2] in (2, 4):
            tell_of_alpha(int(pixels[:, :, -1].min()) == 65535)
            pixels = pixels[:, :, :-1]
        key = image.info.get("transparency")
        if isinstance(key, tuple) and pixels.shape[2] == 3:  # one colour is transparent
            is_shown = (pixels != np.array(key, pixels.dtype)).any(axis=2)
            if self._alpha:
                pixels = np.dstack([pixels, is_shown.astype(pixels.dtype) * 65535])
            else:
                tell_of_alpha(bool(is_shown.all()))
        turned = upright(pixels.transpose(2, 0, 1), orientation(image))
        return number_tensor(turned)


def numbers_from_opened(
    image: Image.Image,
    pages: Pages,
    *,
    alpha: bool = False,
    giver: Literal["dataset", "loader"] = "dataset",
) -> Tensor:
    """A picture that a dataset or a loader gives, perhaps not yet decoded; it is not turned.

    Args:
        image: As it is given. Where it was moved to another frame than the first, that
            frame is meant.
        pages: Which of several frames; see `frames.read_chosen`.
        alpha: Whether an alpha channel is kept.
        giver: Who gives it, for messages.

    Returns:
        `[C, H, W]`, numbers of any type.

    Raises:
        ValueError: It has several frames, or more bits than Pillow gives of it.
        Exception: What Pillow raises where it cannot be decoded.
    """
    frames = _OpenedFrames(image, pages, alpha=alpha)
    frames.giver = giver
    if pages is None and frames.count > 1 and image.tell() > 0:
        return frames.read(image.tell())
    if giver == "loader" and frames.count > 1:
        raise ValueError(
            f"the loader gives an opened {image.format} of {frames.count} {frames.noun}, of which "
            "one would be read: choose it in the loader by image.seek(number) and return "
            "image.copy(), or leave loader= out and give pages="
        )
    return read_chosen(frames, pages)


class _OpenedFrames(RasterFrames):
    """Frames of a picture that a dataset has opened, which are not turned."""

    giver: Literal["dataset", "loader"] = "dataset"

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        image = self.image
        if self.count > 1:
            image.seek(frame)
        if is_cut_by_pillow(image):
            is_loader = self.giver == "loader"
            remedy = (
                "an array, or leave loader= out"
                if is_loader
                else "the path of the file, or an array"
            )
            raise ValueError(
                f"it is an opened {image.format} with more than 8 bits a channel, of which Pillow "
                f"gives 8: let the {self.giver} give {remedy}"
            )
        image.load()
        return numbers_from_pil(image, alpha=self._alpha)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 where there is none."""
    return int(image.getexif().get(_ORIENTATION, 1))


def is_cut_by_pillow(image: Image.Image) -> bool:
    """Whether a picture that is not yet decoded has more bits than Pillow gives of it."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format in ("JPEG2000", "AVIF"):
        return lossy_bits(image) > 8
    modes = _raw_modes(image)
    if image.format == "TIFF":  # which says so even after it was decoded
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    if image.format == "PPM":
        return any(mode.isdigit() and int(mode) > 255 for mode in modes)
    return any(mode.endswith(_CUT_TO_8) for mode in modes)


def _raw_modes(image: Image.Image) -> list[str]:
    """How Pillow will read what is not yet decoded."""
    modes: list[str] = []
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        parts = arguments if isinstance(arguments, tuple) else (arguments,)
        modes += [str(part) for part in parts]
    return modes
