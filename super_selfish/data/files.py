"""Image files: finding them, reading their headers, decoding them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from super_selfish.data.conversion import image_from_pil, pil_channels
from super_selfish.data.fitting import Size
from super_selfish.data.jpeg import decode_jpeg, plain_shape, shape_by_pil

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".ppm", ".pgm", ".pbm"),
)

_JPEG_ENDINGS = (".jpg", ".jpeg")

# What PIL and its plugins raise for a file that is not an image, or a broken one.
DECODING_ERRORS = (
    OSError,  # holds PIL.UnidentifiedImageError
    SyntaxError,  # broken PNG and TIFF headers
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)

_ORIENTATION = 0x0112  # EXIF tag
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap height and width


class FileList:
    """Image files in a fixed order, with a label each if their folders give one.

    Attributes:
        files: Paths.
        labels: `[N]` int64, the index in `classes`, or `None`.
        classes: Names of the first folder level, sorted, or `None`.
    """

    def __init__(
        self,
        files: list[str],
        labels: Tensor | None = None,
        classes: list[str] | None = None,
    ) -> None:
        self.files = files
        self.labels = labels
        self.classes = classes

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> FileList:
        """Searches a folder to its bottom, hidden files and folders excepted.

        If every file lies in a sub-folder, the first folder level names the classes, as in
        torchvision's `ImageFolder`.

        Raises:
            ValueError: There is no such folder, or no image in it.
        """
        root = Path(folder)
        if not root.is_dir():
            kind = "a file, give a list of files instead" if root.exists() else "missing"
            raise ValueError(f"expected a folder of images, but {str(root)!r} is {kind}")
        parts = sorted(path.relative_to(root).parts for path in _walk(root))
        if not parts:
            raise ValueError(
                f"no image in {str(root)!r} or its sub-folders; looked for files that end in "
                f"{', '.join(IMAGE_ENDINGS)} (upper or lower case), hidden ones excepted"
            )
        files = [str(root.joinpath(*part)) for part in parts]
        if any(len(part) == 1 for part in parts):
            return cls(files)
        classes = sorted({part[0] for part in parts})
        number = {name: label for label, name in enumerate(classes)}
        return cls(files, torch.tensor([number[part[0]] for part in parts]), classes)

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)

    def __getitem__(self, index: int) -> str | tuple[str, int]:
        """Path of a file, with its label where there is one."""
        if self.labels is None:
            return self.files[index]
        return self.files[index], int(self.labels[index])


def read_header(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Reads `(height, width, channels)` as `read_image` will give them, decoding no pixel."""
    with Image.open(path) as image:
        width, height = image.size
        # A PNG without early EXIF would be decoded in search of late EXIF: not for a header.
        searchable = image.format != "PNG" or "exif" in image.info
        if searchable and _orientation(image) in _TURNED:
            width, height = height, width
        return height, width, pil_channels(image.mode)


def read_image(path: str | os.PathLike[str], cover: Size | None = None) -> Tensor:
    """Decodes a file and turns it upright as its EXIF orientation says.

    Args:
        path: Any file that PIL opens; the first frame of several.
        cover: `(height, width)` that the image will be reduced to. A JPEG of more than four times
            that is decoded at 1/2, 1/4 or 1/8 of its size, but never below twice `cover`, where
            the result would show it.

    Returns:
        `[C, H, W]`: uint8, uint16 or float32 in [0, 1].

    Raises:
        Exception: One of `DECODING_ERRORS`.
    """
    pixels = _read_plain_jpeg(path, cover)
    return _read_by_pil(path, cover) if pixels is None else pixels


def _read_plain_jpeg(path: str | os.PathLike[str], cover: Size | None) -> Tensor | None:
    """Decodes a file without PIL, if it is a JPEG that needs no more than that."""
    if not os.fspath(path).lower().endswith(_JPEG_ENDINGS):
        return None
    data = _content(path)
    shape = plain_shape(data)
    if shape is None or (cover is not None and min(shape[1:]) >= 4 * max(cover)):
        return None
    return decode_jpeg(data, shape)


def _read_by_pil(path: str | os.PathLike[str], cover: Size | None) -> Tensor:
    with Image.open(path) as image:
        is_upright = _orientation(image) == 1
        whole = image.size
        if cover is not None:
            longest = 2 * max(cover)  # it may have to be turned
            image.draft(None, (longest, longest))  # other formats ignore it
        shape = shape_by_pil(image)
        if is_upright and image.size == whole and shape is not None:
            pixels = decode_jpeg(_content(path), shape)
            if pixels is not None:
                return pixels
        image.load()
        return image_from_pil(image if is_upright else ImageOps.exif_transpose(image))


def _content(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, 1))


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()  # real paths: a link to a parent must not loop
    for folder, folders, names in os.walk(root, onerror=_reraise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS):
                yield Path(folder, name)


def _reraise(error: OSError) -> None:
    raise error
