"""How files become numbers: by the readers of this library, or by one of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from super_selfish.data.conversion import numbers_from
from super_selfish.data.decoding import (
    DECODING_ERRORS,
    count_frames,
    read_bytes,
    read_header,
    read_image,
)
from super_selfish.data.files import FileList
from super_selfish.data.fitting import Size
from super_selfish.data.frames import Pages, Shape, Slice
from super_selfish.data.items import ArrayItems
from super_selfish.data.raster import numbers_from_opened
from super_selfish.data.regular import refuse_waiting
from super_selfish.data.samples import ReadingError

Loader = Callable[[str], Any]  # from a path to a PIL image, an array or a tensor


def check_loader(loader: Any, pages: Pages) -> None:
    """Refuses a reader that cannot be called, or one that would have to know of pages.

    Raises:
        TypeError: `loader` is no function.
        ValueError: `pages` comes with it.
    """
    if loader is None:
        return
    if not callable(loader):
        raise TypeError(
            "loader must be a function from a path to a PIL image, an array or a tensor, got "
            f"{loader!r}"
        )
    if pages is not None:
        raise ValueError(
            f"pages={pages!r} is for files that this library opens, but a loader= reads these: "
            "leave pages out, and let the loader choose the page or return all as channels of one "
            "array"
        )


class FileReader(NamedTuple):
    """What the user said of reading files.

    Attributes:
        pages: Which of several images in a file; see `frames.read_chosen`.
        loader: Reads instead of this library.
        channels: How many images have, which decides where an array or tensor does not say which
            axis holds them.
    """

    pages: Pages = None
    loader: Loader | None = None
    channels: int | None = None

    @property
    def alpha(self) -> bool:
        """Whether alpha channels are kept."""
        return self.channels in (2, 4)

    def prepare(self, files: FileList) -> None:
        """Makes every image of each file one of its own, where the user wants that.

        Raises:
            ReadingError: A file cannot be read.
        """
        if self.pages not in ("frames", "slices") or files.frames is not None:
            return
        counts = []
        for file in files.files:
            try:
                counts.append(count_frames(file, self.pages))
            except DECODING_ERRORS:  # whoever reads the image will say so
                counts.append(1)
        files.expand(counts)

    def refuse_for(self, items: Any) -> None:
        """Refuses options that data which come from no files cannot follow.

        Raises:
            ValueError: There are some.
        """
        is_of_files = self.pages in ("frames", "slices")
        if is_of_files or (self.pages is not None and isinstance(items, ArrayItems)):
            raise ValueError(
                f"pages={self.pages!r} is for files of several images, but the data are a "
                f"{type(items).__name__}: leave pages out"
            )
        if self.loader is not None and isinstance(items, ArrayItems):
            raise ValueError(
                "loader= reads files, but the data are a tensor or array: leave it out"
            )

    def shape(self, files: FileList, index: int) -> Shape | None:
        """Shape of an image by its header; `None` if it has to be read for that.

        Raises:
            ReadingError: The file cannot be read.
        """
        if self.loader is not None:
            return None
        try:
            return read_header(files.files[index], self._pages(files, index), alpha=self.alpha)
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error

    def read(self, files: FileList, index: int, cover: Size | None) -> Tensor:
        """Reads an image of a list: `[C, H, W]`, numbers of any type.

        Args:
            files: The list.
            index: Position in it.
            cover: Size to which the image will be reduced, if it will be.

        Raises:
            ReadingError: The file cannot be read.
        """
        return self.read_path(files.files[index], cover, self._pages(files, index))

    def read_path(self, path: Any, cover: Size | None, pages: Pages) -> Tensor:
        """The same for a path that a dataset gives."""
        if self.loader is not None:
            return self._load(path)
        try:
            return read_image(path, cover, pages, alpha=self.alpha)
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error

    def read_content(self, data: bytes, cover: Size | None) -> Tensor:
        """The same for the content of a file, which a dataset gives.

        Raises:
            ReadingError: It cannot be decoded.
            ValueError: The user's own reader wants paths.
        """
        if self.loader is not None:
            raise ValueError(
                "loader= reads files by their paths, but the dataset gives their bytes: leave it "
                "out, or have the dataset decode them"
            )
        try:
            return read_bytes(data, cover, self.pages, alpha=self.alpha)
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error

    def _load(self, path: Any) -> Tensor:
        assert self.loader is not None  # noqa: S101
        try:
            refuse_waiting(path)
            image = self.loader(path)
            if isinstance(image, Image.Image):
                return self._decoded(image)
        except Exception as error:  # whatever the user's reader raises of a file it cannot read
            raise ReadingError(error) from error
        if image is None:
            raise ReadingError(ValueError("the loader gave None"))
        if not isinstance(image, Tensor | np.ndarray):
            kind = type(image).__name__
            what = f"the loader must give a PIL image, an array or a tensor, but gave a {kind}"
            raise ReadingError(TypeError(what))
        try:
            numbers = numbers_from(image, self.channels)
        except ValueError as error:
            raise ReadingError(ValueError(f"the loader gave no image: {error}")) from error
        if numbers.dtype.is_complex:
            raise ReadingError(ValueError("the loader gave no image: its numbers are complex"))
        return numbers

    def _decoded(self, image: Image.Image) -> Tensor:
        """A picture of the user's reader, perhaps opened only: what Pillow would cut is refused."""
        try:
            return numbers_from_opened(image, None, alpha=self.alpha, giver="loader")
        except Exception:
            image.close()  # of its file nothing more will be read
            raise

    def _pages(self, files: FileList, index: int) -> Pages:
        if files.frames is None:
            return self.pages
        return Slice(files.frames[index]) if self.pages == "slices" else files.frames[index]
