"""Sources: whatever holds images, read as samples of one size and number of channels.

A source answers `source[i]` with a `Sample` whose image is `[C, H, W]`, 8-bit wherever the
original is, or with `Unreadable` where the user chose to skip broken images. It runs in the
loader's workers, so it decodes and resizes and does nothing else.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from super_selfish.data.conversion import image_from, select_images, stack_images
from super_selfish.data.files import DECODING_ERRORS, FileList, read_header, read_image
from super_selfish.data.fitting import Size, fit_channels, fit_size, parse_size
from super_selfish.data.items import ArrayItems, is_path, items_of, split_item
from super_selfish.data.labels import SKIPPED_LABEL, labels_of

__all__ = [
    "ImageSource",
    "Sample",
    "Unreadable",
    "as_source",
    "images_at",
    "labels_of",
]

DEFAULT_SIZE: Size = (225, 225)  # of images whose own sizes differ
SMALLEST_SIDE = 32  # pixels; networks that halve the image five times need it
_PROBED_ITEMS = 32  # decoded, so few
_PROBED_HEADERS = 2000  # about 0.1 ms each


class Sample(NamedTuple):
    """One image, its index in the source and its label.

    `image` is `[C, H, W]`, uint8, uint16 or float32 in [0, 1]; `label` a scalar int64 tensor, or
    whatever tensor the dataset gives, or `None`.
    """

    image: Tensor
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    label: Tensor | None


class Unreadable(NamedTuple):
    """Stands for a sample that could not be decoded, and says why."""

    index: int  # type: ignore[assignment]
    name: str
    reason: str


class ImageSource(Dataset["Sample | Unreadable"]):
    """Reads images of any kind as samples of one size.

    Attributes:
        dataset: What the source was made of, untouched.
        items: The same as something that gives items one by one.
        image_size: `(height, width)` of every sample, in pixels.
        in_channels: Number of channels of every sample.
        classes: Names of the classes, if `dataset` tells them, else `None`.
    """

    def __init__(
        self,
        data: Any,
        image_size: int | Sequence[int] | None = None,
        in_channels: int | None = None,
        *,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        """Looks at some images, to learn what the caller did not say.

        Args:
            data: A dataset (anything with `__len__` and `__getitem__`) of PIL images, tensors,
                arrays or paths, bare, first in a tuple, or in a dict under "image"; a folder; a
                list of files or of images; a tensor `[N, C, H, W]` or array `[N, H, W, C]`, or
                one with its labels as a tuple.
            image_size: Side, or `(height, width)`, in pixels. Left out: the images' own size if
                it is uniform, though no side below 32; otherwise 225x225.
            in_channels: Left out: the most channels that a probed image has.
            on_error: Whether an unreadable image ends the run or comes as `Unreadable`.

        Raises:
            TypeError: `data` is none of these.
            ValueError: It is empty, or no probed image can be read, or an option is wrong.
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        if in_channels is not None and in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        self.dataset = data
        self.on_error = on_error
        self.items = items_of(data)
        self.classes: list[str] | None = getattr(self.items, "classes", None)
        size = None if image_size is None else parse_size(image_size)
        shapes = self._probed_shapes(wants_size=size is None)
        self.image_size = _default_size(shapes) if size is None else size
        self.in_channels = max(s[0] for s in shapes) if in_channels is None else in_channels

    def __len__(self) -> int:
        """Number of images, the unreadable ones included."""
        return len(self.items)

    def __getitem__(self, index: int) -> Sample | Unreadable:
        """Reads, decodes and resizes one image.

        Args:
            index: Position in the dataset; negative ones count from the end.

        Returns:
            The sample, or `Unreadable` if its image cannot be decoded and `on_error` is "skip".

        Raises:
            OSError: The image cannot be read (`on_error="raise"`).
            ValueError: It cannot be decoded, or is no image that networks can take.
        """
        index = self._checked(index)
        try:
            image, label = self._read(index, self.image_size)
        except _ReadingError as error:
            if self.on_error == "skip":
                return Unreadable(index, self.name(index), error.reason)
            self._fail(index, error)
        try:
            if self.in_channels < image.shape[0]:  # fewer channels to resize
                image = fit_channels(image, self.in_channels)
            image = fit_channels(fit_size(image, self.image_size), self.in_channels)
        except ValueError as error:
            raise ValueError(f"{self.name(index)}: {error}") from error
        return Sample(image, index, label)

    def raw(self, index: int) -> Any:
        """The item as the dataset gives it; for files the path, with its label if there is one."""
        return self.items[self._checked(index)]

    def name(self, index: int) -> str:
        """The path of an image, if it is known, or "item 17"."""
        files = self.items.files if isinstance(self.items, FileList) else None
        if files is None:
            files = getattr(self.dataset, "samples", None)  # torchvision's folders
        if isinstance(files, list) and len(files) == len(self):
            entry = files[index][0] if isinstance(files[index], tuple) else files[index]
            if is_path(entry):
                return str(entry)
        return f"item {index}"

    def batch(self) -> Tensor | None:
        """All images as `[N, C, H, W]` without a copy, if they lie in memory in the final form."""
        if not isinstance(self.items, ArrayItems):
            return None
        images = self.items.as_batch()
        if images is None or tuple(images.shape[1:]) != (self.in_channels, *self.image_size):
            return None
        return images

    def label(self, index: int) -> Tensor | None:
        """The label of one item; -1 if the item cannot be read and is skipped."""
        try:
            return split_item(self.raw(index)).label
        except DECODING_ERRORS as error:
            if self.on_error == "skip":
                return torch.tensor(SKIPPED_LABEL)
            self._fail(index, _ReadingError(error))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        return index + len(self) if index < 0 else int(index)

    def _read(self, index: int, cover: Size | None) -> tuple[Tensor, Tensor | None]:
        """One image `[C, H, W]` in its own size, and its label."""
        try:
            image, label = split_item(self.items[index])
            if is_path(image):
                return read_image(image, cover), label  # type: ignore[arg-type]
            if isinstance(image, Image.Image):
                image.load()  # datasets may open lazily
        except DECODING_ERRORS as error:
            raise _ReadingError(error) from error
        try:
            return image_from(image), label
        except (TypeError, ValueError) as error:  # readable, but no image: never skipped
            raise type(error)(f"{self.name(index)}: {error}") from error

    def _probed_shapes(self, wants_size: bool) -> list[tuple[int, int, int]]:
        """`(C, H, W)` of some images; of files by their headers, of one array by its first."""
        if isinstance(self.items, ArrayItems):
            indices = [0]
        else:
            many = isinstance(self.items, FileList) and wants_size
            indices = _spread(len(self), _PROBED_HEADERS if many else _PROBED_ITEMS)
        shapes: list[tuple[int, int, int]] = []
        failures: list[str] = []
        for index in indices:
            try:
                shapes.append(self._shape(index))
            except _ReadingError as error:
                if self.on_error == "raise":
                    self._fail(index, error)
                failures.append(f"{self.name(index)}: {error.reason}")
        if not shapes:
            raise ValueError(
                f"none of the {len(indices)} images looked at can be read; {failures[0]}"
            )
        return shapes

    def _shape(self, index: int) -> tuple[int, int, int]:
        if isinstance(self.items, FileList):
            try:
                height, width, channels = read_header(self.items.files[index])
            except DECODING_ERRORS as error:
                raise _ReadingError(error) from error
            return channels, height, width
        image, _ = self._read(index, None)
        return image.shape[0], image.shape[1], image.shape[2]

    def _fail(self, index: int, error: _ReadingError) -> NoReturn:
        kind = OSError if isinstance(error.cause, OSError) else ValueError
        raise kind(
            f"cannot read image {self.name(index)}: {error.reason}; remove it, or skip such "
            "images with on_error='skip'"
        ) from error.cause


class _ReadingError(Exception):
    """An image that cannot be decoded; `cause` is what the decoder said."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


def as_source(
    data: Any,
    image_size: int | Sequence[int] | None = None,
    in_channels: int | None = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
) -> ImageSource:
    """Makes a source of `data`; one that is a source already passes through.

    Args:
        data: As for `ImageSource`.
        image_size: As for `ImageSource`.
        in_channels: As for `ImageSource`.
        on_error: As for `ImageSource`; a source keeps its own.

    Raises:
        ValueError: `data` is a source of another size or number of channels.
    """
    if not isinstance(data, ImageSource):
        return ImageSource(data, image_size, in_channels, on_error=on_error)
    if image_size is not None and parse_size(image_size) != data.image_size:
        raise ValueError(
            f"the source gives images of {data.image_size}, but image_size is {image_size}: "
            "make the source with that size, or leave image_size out"
        )
    if in_channels is not None and in_channels != data.in_channels:
        raise ValueError(
            f"the source gives {data.in_channels} channels, but in_channels is {in_channels}: "
            "make the source with that number, or leave in_channels out"
        )
    return data


def images_at(source: ImageSource, indices: Iterable[int] | Tensor) -> Tensor:
    """Reads some images and stacks them.

    Args:
        source: Where from.
        indices: Positions in the source.

    Returns:
        `[B, C, H, W]`; uint8, uint16 or float32 (float32 too where types differ).

    Raises:
        ValueError: There are no indices, or one of the images cannot be read.
    """
    chosen = torch.as_tensor(
        indices if isinstance(indices, Tensor) else list(indices), dtype=torch.int64
    )
    if chosen.numel() == 0:
        raise ValueError("expected at least one index, got none")
    images = source.batch()
    if images is not None:
        return select_images(images, chosen)
    samples = []
    for index in chosen.tolist():
        sample = source[index]
        if isinstance(sample, Unreadable):
            raise ValueError(f"cannot read image {sample.name}: {sample.reason}")
        samples.append(sample.image)
    return stack_images(samples)


def _spread(total: int, most: int) -> list[int]:
    """At most `most` indices below `total`, evenly spaced, first and last included."""
    if total <= most:
        return list(range(total))
    return [position * (total - 1) // (most - 1) for position in range(most)]


def _default_size(shapes: list[tuple[int, int, int]]) -> Size:
    sizes = {(height, width) for _, height, width in shapes}
    if len(sizes) > 1:
        return DEFAULT_SIZE
    height, width = sizes.pop()
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)
