"""Reads single items of whatever holds images, each in its own size, and names what fails.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.conversion import checked_values, numbers_from
from super_selfish.data.decoding import DECODING_ERRORS
from super_selfish.data.file_reader import FileReader
from super_selfish.data.files import FileList
from super_selfish.data.fitting import Size
from super_selfish.data.items import is_path, split_item
from super_selfish.data.known_labels import Labels, known_file, known_labels
from super_selfish.data.raster import numbers_from_opened
from super_selfish.data.samples import SKIPPED_LABEL, DatasetError, ReadingError
from super_selfish.data.value_range import NoImageError, ValueRange, WantedRange
from super_selfish.training.counting import plural

_NONE = "the dataset gives None instead of an image"


class ItemReader:
    """The part of an `ImageSource` that asks the dataset.

    Attributes:
        dataset: What the source was made of, untouched.
        items: The same as something that gives items one by one.
        on_error: Whether an unreadable image is fatal.
        reader: How files are read.
        wanted_values: Which numbers are black and white by the user's word.
        values: Which they are, where the type does not say it.
    """

    dataset: Any
    items: Any
    reader: FileReader
    wanted_values: WantedRange
    values: ValueRange | None
    on_error: Literal["raise", "skip"]

    def __len__(self) -> int:
        """Number of images, the unreadable ones included."""
        return len(self.items)

    def raw(self, index: int) -> Any:
        """The item as the dataset gives it; for files the path, with its label if there is one.

        Raises:
            OSError: The dataset cannot read it.
            ValueError: The same.
            DatasetError: The dataset fails otherwise.
        """
        try:
            return self.item(self._checked(index))
        except ReadingError as error:
            self.fail(index, error)

    def item(self, index: int) -> Any:
        """The item as the dataset gives it, for who knows what to do if it cannot be read.

        Raises:
            ReadingError: The dataset cannot read it.
            DatasetError: The dataset fails otherwise.
        """
        try:
            return self.items[index]
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error
        except (ReadingError, DatasetError):  # of a source within this one
            raise
        except Exception as error:
            raise DatasetError(
                f"{type(self.dataset).__name__}[{index}] fails ({self.name(index)}): "
                f"{type(error).__name__}: {error}"
            ) from error

    def name(self, index: int) -> str:
        """The path of an image, if it is known, or "item 17"."""
        return known_file(self.items, index) or f"item {index}"

    def label(self, index: int) -> Tensor | None:
        """The label of one item; -1 if the item cannot be read and is skipped."""
        try:
            item = split_item(self.item(self._checked(index)))
            if item.image is None and item.label is None:
                raise ReadingError(ValueError(_NONE))
            return item.label
        except ReadingError as error:
            if self.on_error == "skip":
                return torch.tensor(SKIPPED_LABEL)
            self.fail(index, error)

    def known_labels(self) -> Labels | None:
        """The labels of all items, if they are known without reading the items."""
        return known_labels(self.items)

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {plural(len(self), 'image')}")
        return index + len(self) if index < 0 else int(index)

    def read_whole(self, index: int, cover: Size | None) -> tuple[Tensor, Tensor | None]:
        """Reads one image in its own size.

        Args:
            index: Position in the dataset.
            cover: Size to which the image will be reduced, if it will be.

        Returns:
            `[C, H, W]`, uint8, uint16 or float32 in [0, 1]; and the label.

        Raises:
            ReadingError: It cannot be decoded, or holds numbers that no image can, where such ones
                are skipped.
            DatasetError: The dataset fails.
            TypeError: It is no image.
            ValueError: The same.
        """
        numbers, label = self.read_numbers(index, cover)
        return self._checked_values(index, numbers, self.values), label

    def check_values(self, index: int, numbers: Tensor) -> None:
        """Refuses numbers that cannot be an image, unless a range is still to be found for them.

        Raises:
            ReadingError: They cannot, and such images are skipped.
            ValueError: They cannot.
        """
        if not isinstance(self.wanted_values, str):
            self._checked_values(index, numbers, self.wanted_values)

    def _checked_values(self, index: int, numbers: Tensor, values: ValueRange | None) -> Tensor:
        try:
            return checked_values(numbers, values)
        except NoImageError as error:
            if self.on_error == "skip":
                raise ReadingError(error) from error
            raise ValueError(
                f"{self.name(index)}: {error}; or leave such images out with on_error='skip' (of "
                "the supervisor, or of ImageSource)"
            ) from error
        except ValueError as error:  # of a type that says nothing, as the others are: never skipped
            raise ValueError(f"{self.name(index)}: {error}") from error

    def read_numbers(self, index: int, cover: Size | None) -> tuple[Tensor, Tensor | None]:
        """The same before it is said which numbers are black and white, of any type."""
        given = self.item(index)
        try:
            item = split_item(given)
        except TypeError as error:
            raise TypeError(f"{self.name(index)}: {error}") from error
        opened = _content(item.image)
        try:
            if isinstance(opened, Image.Image):
                opened = numbers_from_opened(opened, self.reader.pages, alpha=self.reader.alpha)
        except DECODING_ERRORS as error:
            raise ReadingError(error) from error
        if opened is None:
            raise ReadingError(ValueError(_NONE))
        if isinstance(self.items, FileList):
            return self.reader.read(self.items, index, cover), item.label
        if isinstance(opened, bytes | bytearray | memoryview):
            return self.reader.read_content(bytes(opened), cover), item.label
        if is_path(opened):
            return self.reader.read_path(opened, cover, self.reader.pages), item.label
        try:
            return numbers_from(opened, self.reader.channels), item.label
        except (TypeError, ValueError) as error:  # readable, but no image: never skipped
            raise type(error)(f"{self.name(index)}: {error}") from error

    def fail(self, index: int, error: ReadingError) -> NoReturn:
        """Says which image cannot be read, why, and what to do."""
        kind = OSError if isinstance(error.cause, OSError) else ValueError
        name = self.name(index)
        named = name if name.startswith("image ") else f"image {name}"
        if os.path.isdir(name):
            advice = "give a folder by itself, not among files"
        else:
            advice = (
                "remove it, or skip such images with on_error='skip' (of the supervisor, or of "
                "ImageSource)"
            )
        raise kind(f"cannot read {named}: {error.reason}; {advice}") from error.cause


def _content(image: object) -> Any:
    """An image; of what Hugging Face gives that does not decode it, the bytes or the path."""
    if isinstance(image, Mapping) and {"bytes", "path"} >= image.keys():
        return image.get("path") if image.get("bytes") is None else image["bytes"]
    return image
