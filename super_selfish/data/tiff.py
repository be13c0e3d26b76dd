"""TIFF with all its channels and bits, through tifffile.

Pillow cuts colour of 16 bits to 8, drops channels beyond three or cannot open what has them, and
shows the first page alone. tifffile (NumPy alone; scikit-image brings it along) keeps all of it.
Compressions other than deflate and packbits need `imagecodecs`; where that is missing, Pillow reads
those pages of which it cuts nothing, and the others are refused.

What axes a file's own description gives (OME-XML, ImageJ, tifffile's) is honoured: its channels
are channels, whatever else there is (depth, time, position) are frames. Without one, every page is
a frame. Smaller copies and masks of a page are none. Pixels that have the number which means "no
data" in a GeoTIFF are black: the least number of the others in their channel.

GDAL (rasterio) is not needed for GeoTIFF. Of 1,570 files that it wrote, in all its compressions,
types and layouts, 1,565 come out equal, two of those in lossy JPEG of signed bytes do not, and
three (JPEG, WebP) are refused. It would open files beside the one that was given, and the network.

Shapes: `C, H, W` channels, height, width of a frame.
"""

from __future__ import annotations

import math
import os
import re
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from super_selfish.data.conversion import number_tensor, numbers_from_pil, tell_of_alpha
from super_selfish.data.empty_pixels import darkened
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Frames, Shape
from super_selfish.data.orientation import is_turned, upright
from super_selfish.data.regular import check_size

_CHANNEL_AXES = "CS"  # channels of a microscope, samples of a pixel
# What the descriptions of OME and of tifffile promise.
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\s[^>]*>")
_OME_SIZE = re.compile(r"""\bSize[CZT]\s*=\s*["'](\d+)""")
_SHAPED = re.compile(r"""\{"shape": \[([^\]]*)\]|shape=\(([^)]*)\)""")
_NUMBER = re.compile(r"\d+")
_MOST_PAGES = 10**6
_LEAST_PAGE = 8  # bytes
_PLAIN_AXES = ("YX", "YXS", "SYX")
_ORIENTATION = 274
_NO_DATA = 42113  # GDAL's
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_PLAIN = frozenset({_MINISWHITE, _MINISBLACK, _RGB, 34892, 51177})  # the last: raw, depth
_ALPHA = frozenset({1, 2})  # associated (premultiplied) or not
_KEPT_BY_PILLOW = frozenset(
    {("b", 1, 1), ("u", 8, 1), ("u", 8, 3), ("u", 16, 1), ("f", 32, 1)}  # kind, bits, channels
)
# What opens files beside the one that was given, or takes their names from it.
_NEIGHBOURS = ("is_ndtiff", "is_mmstack", "is_micromanager")


class _Frame(NamedTuple):
    """Where a frame lies."""

    series: Any
    layout: _Layout
    place: int  # among the frames of the series


class TiffFrames(Frames):
    """The images of an open TIFF."""

    def __init__(self, file: BinaryIO, *, alpha: bool = False) -> None:
        """Reads the directory of the file.

        Args:
            file: Open for reading.
            alpha: Whether an alpha channel, where the file says that there is one, is kept.

        Raises:
            ValueError: It is no TIFF, or a broken one.
        """
        self._file = file
        self._alpha = alpha
        flags: dict[str, Any] = {
            name: False for name in _NEIGHBOURS if name[3:] in tifffile.TIFF.FILE_FLAGS
        }
        self._tiff: Any = tifffile.TiffFile(file, _multifile=False, **flags)
        self._frames = self._table()
        self.count = len(self._frames)
        if self.count == 0:
            raise ValueError("the TIFF holds no image")

    def _table(self) -> list[_Frame]:
        pages = self._tiff.pages
        is_plain = len(pages) == 1 and not pages[0].description and pages[0].axes in _PLAIN_AXES
        if not is_plain:  # which takes as long as all the rest
            _check_promise(str(pages[0].description), pages[0], self._file)
            series = self._tiff.series
            if series and series[0].kind not in ("generic", "uniform"):
                return [frame for part in series for frame in _frames_of(part)]
        whole = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
        return [frame for page in whole for frame in _frames_of(_OnePage(page))]

    def shape(self, frame: int) -> Shape:
        """Shape of an image, alpha left out unless it is kept."""
        series, layout, _ = self._frames[frame]
        page = series.keyframe
        samples = 3 if page.photometric in (_PALETTE, _CMYK) else layout.samples
        if page.photometric not in (_PALETTE, _CMYK) and not self._alpha:
            samples -= len(_alpha_places(page))
        height, width = layout.size
        if is_turned(_orientation(page)):
            height, width = width, height
        return samples * layout.planes, height, width

    def read(self, frame: int, cover: Size | None = None) -> Tensor:
        """Decodes an image, `[C, H, W]`."""
        series, layout, place = self._frames[frame]
        size = math.prod(layout.size) * layout.samples * layout.planes
        check_size(size * series.dtype.itemsize, self._file)
        return self._pixels(series, layout, place)

    def _pixels(self, series: Any, layout: _Layout, place: int) -> Tensor:
        page = series.keyframe
        if page.photometric == _YCBCR and page.dtype == np.uint8:
            return self._by_pillow(page, layout, None)
        try:
            pixels = layout.read(series, place)
        except (ValueError, NotImplementedError, ImportError) as error:
            # In its place tifffile tries modules of newer Pythons.
            if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
                raise
            return self._by_pillow(page, layout, error)
        pixels = _seen(pixels, page, alpha=self._alpha)  # [planes, H, W, samples]
        pixels = np.moveaxis(pixels, 3, 1)
        empty = _without_data(pixels, page)
        if empty is not None:
            pixels = darkened(pixels, empty)
        image = pixels.reshape(-1, *pixels.shape[2:])
        return number_tensor(upright(image, _orientation(page)))

    def _by_pillow(self, page: Any, layout: _Layout, error: Exception | None) -> Tensor:
        """What tifffile cannot decompress alone and Pillow can, if Pillow cuts nothing of it."""
        samples = layout.samples - len(_alpha_places(page))
        kind = ("b" if page.bitspersample == 1 else page.dtype.kind, page.bitspersample, samples)
        is_kept = kind in _KEPT_BY_PILLOW or (page.photometric == _PALETTE and samples == 1)
        if not is_kept or layout.planes > 1 or self._alpha:
            codec = getattr(page.compression, "name", page.compression)
            raise ValueError(
                f"it is compressed ({codec}, {page.bitspersample} bits, {layout.samples} channels) "
                "and needs imagecodecs: pip install 'super-selfish[tiff]'"
            ) from error
        self._file.seek(0)
        with Image.open(self._file, formats=("TIFF",)) as image:
            image.seek(page.index)
            image.load()  # which turns a TIFF upright
            return numbers_from_pil(image)


class _OnePage:
    """A page as a series of its own."""

    def __init__(self, page: Any) -> None:
        self.keyframe = page
        self.dtype = page.dtype
        self.dataoffset = None
        self.pages = [page]

    def get_axes(self, squeeze: bool) -> str:
        return str(self.keyframe.axes)

    def get_shape(self, squeeze: bool) -> tuple[int, ...]:
        return tuple(self.keyframe.shape)


class _Layout:
    """How the images of a series lie on its pages.

    Attributes:
        axes: One letter an axis.
        shape: Length of each.
    """

    def __init__(self, series: Any) -> None:
        self.axes = str(series.get_axes(squeeze=False))
        self.shape = tuple(int(side) for side in series.get_shape(squeeze=False))
        if series.dtype is None:
            raise ValueError("its numbers are of no type that is known")
        if "X" not in self.axes or "Y" not in self.axes or 0 in self.shape:
            raise ValueError(f"it has no images: its axes are {self.axes!r}, {list(self.shape)}")

    def _length(self, letters: str) -> int:
        return math.prod(
            n for axis, n in zip(self.axes, self.shape, strict=True) if axis in letters
        )

    @cached_property
    def _frame_axes(self) -> list[int]:
        return [i for i, axis in enumerate(self.axes) if axis not in "YX" + _CHANNEL_AXES]

    @property
    def count(self) -> int:
        """Number of frames."""
        return math.prod(self.shape[axis] for axis in self._frame_axes)

    @property
    def planes(self) -> int:
        """Channels that lie on pages of their own."""
        return self._length("C")

    @property
    def samples(self) -> int:
        """Numbers a pixel on one page."""
        return self._length("S")

    @property
    def size(self) -> Size:
        """Height and width."""
        return self._length("Y"), self._length("X")

    def read(self, series: Any, place: int) -> NDArray[Any]:
        """The raw numbers of a frame, `[planes, H, W, samples]`."""
        lengths = [self.shape[axis] for axis in self._frame_axes]
        position = dict(
            zip(self._frame_axes, np.unravel_index(place, lengths or [1]), strict=False)
        )
        pages = len(series.pages)
        lead = self._leading_axes(pages, math.prod(series.keyframe.shape))
        if lead is None:  # pages that only say how the rest of the file lies
            whole = series.asarray(out="memmap").reshape(self.shape)
            return self._ordered(whole, list(range(len(self.shape))), position)
        numbers = np.arange(pages).reshape(self.shape[:lead])
        chosen = numbers[tuple(position.get(axis, slice(None)) for axis in range(lead))]
        found = [_page_pixels(series.pages[int(page)]) for page in np.ravel(chosen)]
        stack = np.stack(found) if len(found) > 1 else found[0][None]
        kept = [axis for axis in range(lead) if axis not in position]
        shape = [self.shape[axis] for axis in kept] + list(self.shape[lead:])
        axes = kept + list(range(lead, len(self.shape)))
        inner = {axis: at for axis, at in position.items() if axis >= lead}
        return self._ordered(stack.reshape(shape), axes, inner)

    def _leading_axes(self, pages: int, page_size: int) -> int | None:
        """How many axes run from page to page; the others run within one."""
        for lead in range(len(self.shape) + 1):
            if math.prod(self.shape[:lead]) == pages and (
                math.prod(self.shape[lead:]) == page_size
            ):
                return lead
        return None

    def _ordered(
        self, array: NDArray[Any], axes: list[int], position: dict[int, Any]
    ) -> NDArray[Any]:
        index = tuple(position.get(axis, slice(None)) for axis in axes)
        letters = [self.axes[axis] for axis in axes if axis not in position]
        image = array[index]
        order = [i for kind in "CYXS" for i, axis in enumerate(letters) if axis == kind]
        image = image.transpose(order)
        return image.reshape(self.planes, *self.size, self.samples)


def _check_promise(description: str, page: Any, file: BinaryIO) -> None:
    """Refuses a description of far more pages than a file can hold, before they are listed.

    Raises:
        ValueError: It is one.
    """
    promised = 0
    for pixels in _OME_PIXELS.findall(description):
        promised += math.prod(int(size) for size in _OME_SIZE.findall(pixels))
    shape = _SHAPED.match(description)
    if shape is not None and page.shape:
        numbers = math.prod(int(side) for side in _NUMBER.findall(shape[1] or shape[2]))
        promised = max(promised, numbers // max(1, math.prod(page.shape)))
    stored = os.fstat(file.fileno()).st_size
    if promised > min(_MOST_PAGES, stored // _LEAST_PAGE):
        raise ValueError(
            f"the file has {stored:,} bytes, but describes {promised:,} pages: it is broken, or "
            "made to fill the memory"
        )


def _frames_of(series: Any) -> list[_Frame]:
    layout = _Layout(series)
    return [_Frame(series, layout, place) for place in range(layout.count)]


def _page_pixels(page: Any) -> NDArray[Any]:
    if page is None:
        raise ValueError("a page that its description promises is missing")
    return np.asarray(page.asarray())


def _orientation(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION) if hasattr(page, "tags") else None
    value = 1 if tag is None else tag.value
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def _alpha_places(page: Any) -> list[int]:
    """Which samples of a pixel are alpha by the file's own word."""
    extra = [int(kind) for kind in page.extrasamples]
    first = page.samplesperpixel - len(extra)
    return [first + place for place, kind in enumerate(extra) if kind in _ALPHA]


def _without_data(pixels: NDArray[Any], page: Any) -> NDArray[np.bool_] | None:
    """Which of `[planes, samples, H, W]` hold no data, by GDAL's word.

    0 of unsigned numbers is black already, and stays: many files call it so that have it elsewhere.
    """
    tag = page.tags.get(_NO_DATA) if hasattr(page, "tags") else None
    if tag is None or page.photometric not in (_MINISBLACK, _RGB) or pixels.dtype.kind not in "uif":
        return None
    try:
        value = float(str(tag.value).strip("\0 "))
    except ValueError:
        return None
    if math.isnan(value):
        empty: NDArray[np.bool_] = np.isnan(pixels)
    elif pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            empty = pixels == pixels.dtype.type(value)  # which is written with more digits
    elif value == 0 and pixels.dtype.kind == "u":
        return None
    else:
        empty = pixels == value
    empty[:, [place for place in _alpha_places(page) if place < empty.shape[1]]] = False
    return empty


def _seen(pixels: NDArray[Any], page: Any, *, alpha: bool) -> NDArray[Any]:
    """Raw numbers `[planes, H, W, samples]` as one sees them: bright is high, no palettes."""
    photometric = -1 if page.photometric is None else int(page.photometric)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * pixels.itemsize
    if photometric == _PALETTE:
        return _coloured(pixels, page)
    if photometric == _CMYK:
        return _from_inks(pixels, page)
    if photometric not in _PLAIN:
        name = getattr(page.photometric, "name", photometric)
        raise ValueError(
            f"its colours are stored as {name}, which is not read: convert it to grey or RGB, or "
            "read it by a loader="
        )
    places = [] if alpha else _alpha_places(page)
    if places:
        most = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
        tell_of_alpha(bool((pixels[..., places] == most).all()))
        pixels = np.delete(pixels, places, axis=3)
    if photometric == _MINISWHITE and pixels.dtype.kind not in "bu":
        raise ValueError(
            f"its white is the least number, and which that is {pixels.dtype} does not say: store "
            "it with black as the least (MINISBLACK), or read it by a loader="
        )
    if photometric == _MINISWHITE:
        pixels = ~pixels if pixels.dtype.kind == "b" else pixels.dtype.type(2**bits - 1) - pixels
    if pixels.dtype.kind == "u" and bits < 8:  # as Pillow does: the brightest is 255
        pixels = (pixels.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    return pixels


def _coloured(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    if page.colormap is None or pixels.shape[3] != 1 or pixels.dtype.kind not in "bu":
        raise ValueError("it has a palette that cannot be read: convert it to RGB")
    palette = np.asarray(page.colormap, dtype=np.uint16).T  # [colours, 3]
    high = palette >> 8
    if np.array_equal(palette, high * 257) or not (palette & 255).any():  # 8 bits, stored as 16
        palette = high.astype(np.uint8)
    if int(pixels.max()) >= len(palette):
        raise ValueError("it names a colour that its palette lacks")
    return palette[pixels[..., 0].astype(np.int64)]


def _from_inks(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"it has inks (CMYK) of more than 8 bits ({pixels.dtype}): convert it to RGB"
        )
    places = _alpha_places(page)
    if places:
        tell_of_alpha(bool((pixels[..., places] == 255).all()), "an RGB copy with alpha keeps it")
        pixels = np.delete(pixels, places, axis=3)
    if pixels.shape[0] != 1 or pixels.shape[3] != 4:
        inks = pixels.shape[0] * pixels.shape[3]
        raise ValueError(f"it has {inks} inks, and only four (CMYK) are read: convert it to RGB")
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[1:3]
    image = Image.frombytes("CMYK", (width, height), pixels.tobytes())
    return np.array(image.convert("RGB"))[None]
