"""Sources: whatever holds images, read as samples of one size and number of channels.

A source answers `source[i]` with a `Sample` whose image is `[C, H, W]`, 8-bit wherever the
original is, or with `Unreadable` where the user chose to skip broken images. It runs in the
loader's workers, so it decodes and resizes and does nothing else. What lies in one piece, such as a
tensor or a cache, is read a batch at a time (`__getitems__`, which the loader prefers).

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from super_selfish.data.cache import open_cache
from super_selfish.data.channels import can_become, common_channels, misfit
from super_selfish.data.file_reader import FileReader, Loader, check_loader
from super_selfish.data.files import FileList
from super_selfish.data.fitting import fit_channels, fit_size, parse_size
from super_selfish.data.frames import Pages, parse_pages
from super_selfish.data.item_reader import ItemReader
from super_selfish.data.items import ArrayItems, as_column, items_of, split_item
from super_selfish.data.known_labels import Labels, chosen_labels, is_our_source, known_classes
from super_selfish.data.labels import label_at, labels_of
from super_selfish.data.probed_numbers import (
    Found,
    in_words,
    probed_values,
    resolved,
    warn_of_range,
)
from super_selfish.data.probing import default_size, look, size_in_words
from super_selfish.data.samples import Batch, ReadingError, Sample, Unreadable, images_at
from super_selfish.data.stored import StoredImages
from super_selfish.data.value_range import Range, parse_value_range
from super_selfish.training.counting import plural
from super_selfish.training.telling import warn
from super_selfish.training.typed import as_whole

__all__ = [
    "ImageSource",
    "Sample",
    "Unreadable",
    "images_at",
    "labels_of",
]


class ImageSource(ItemReader, Dataset["Sample | Unreadable"]):
    """Reads images of any kind as samples of one size.

    Attributes:
        dataset: What the source was made of, untouched.
        items: The same as something that gives items one by one.
        image_size: `(height, width)` of every sample, in pixels.
        in_channels: Number of channels of every sample.
        classes: Names of the classes, if `dataset` tells those of its labels, else `None`.
        found: What the numbers of some images were, else `None`.
        size_remark: One line on `image_size`, where images lose their own and nobody asked for it.
        is_size_said: Whether somebody has asked for `image_size`.
        loses_channels: Whether the user knows that channels may be lost, having said their number,
            or having been told.
        stored: The images as they were decoded once, in a cache or on a device, else `None`.
        whole: The source of which this one shows some images, else `None`.
        given_labels: What `with_labels` was given, of the images of this source, else `None`.
    """

    stored: StoredImages | None = None
    whole: ImageSource | None = None
    given_labels: Tensor | None = None
    found: Found | None = None
    size_remark: str | None = None
    is_size_said = True
    looks_at_numbers = True  # whether the numbers of some images are looked at, before any is read
    has_random_access = True  # whether every image can be asked for by its position
    has_index = True  # whether an image has the same position in every epoch

    def __init__(
        self,
        data: Any,
        image_size: int | Sequence[int] | None = None,
        in_channels: int | None = None,
        *,
        on_error: Literal["raise", "skip"] = "raise",
        value_range: Range = None,
        pages: Pages = None,
        loader: Loader | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        """Looks at some images, to learn what the caller did not say.

        Args:
            data: A dataset (anything with `__len__` and `__getitem__`) of PIL images, tensors,
                arrays or paths, bare, first in a tuple, or in a dict under "image"; a folder; a
                file; a pattern such as `"scans/**/*.tif"`; a list of files or of images; a
                generator of paths; a tensor `[N, C, H, W]` or array `[N, H, W, C]`, or one with its
                labels as a tuple.
            image_size: Side, or `(height, width)`, in pixels. Left out: the images' own size if
                it is uniform, though no side below 32; otherwise 225x225.
            in_channels: Left out: the most channels that a probed image has, alpha not counted.
                With 2 or 4, alpha is kept as the last channel where images have it. An axis of as
                many entries holds the channels of a tensor or an array; without it that is the
                first or last, of at most 16 entries (of a tensor the first, of an array the last,
                also of more) and, if the other has no more either, of at most half of the others.
            on_error: Whether an image that is unreadable, damaged or `None` ends the run or comes
                as `Unreadable`.
            value_range: Which numbers are black and white, where the type of the images does not
                say it (uint8: 0 and 255, uint16: 0 and 65535, float: 0 and 1): `(low, high)`, each
                a number or one for each channel, beyond which numbers are cut; "percentile": what
                99.8 % of the numbers of some images lie between; "bits": 0 and all ones of the
                fewest bits (8, 10, 12, 14, 16) that hold those numbers.
            pages: What to do with files of several images, such as TIFF stacks and animations:
                "channels" makes them channels of one image, "frames" images of their own, a number
                chooses one of them, from 0; "slices" makes those of a NIfTI file images, with the
                volumes along its fourth axis (sequences, phases) as channels. Left out, channels
                that a file itself describes (OME, ImageJ) are channels, and whatever else there is
                several of is refused. The pages of an array in a file lie along its first axis;
                where the first or last has at most 16 entries, and at most half as many as the
                others, it holds channels.
            loader: A reader of your own: from a path to a PIL image, an array or a tensor. Then
                folders give files of all endings.
            cache: Path of a file that keeps the images of a folder, or list of files, decoded and
                resized, so that they are decoded once for all runs; see `cached`.

        Raises:
            TypeError: `data` is none of these.
            ValueError: It is empty, or no probed image can be read, or an option is wrong.

        Warns:
            UserWarning: Files of a folder are left out, or images use less than a tenth of black
                to white, or more than a twentieth of their numbers lie beyond `value_range`.
        """
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        in_channels = None if in_channels is None else as_whole("in_channels", in_channels)
        if in_channels is not None and in_channels < 1:
            raise ValueError(f"in_channels must be at least 1, got {in_channels}")
        self.wanted_values = parse_value_range(value_range)
        self.dataset = data
        self.on_error = on_error
        check_loader(loader, pages)
        self.reader = FileReader(parse_pages(pages), loader, in_channels)
        self.values = None
        self.items = items_of(data, every=loader is not None)
        if isinstance(self.items, FileList):
            self.items.warn_of_left_out()
            self.reader.prepare(self.items)
        else:
            self.reader.refuse_for(self.items)
        self.classes = known_classes(self.items)
        size = None if image_size is None else parse_size(image_size)
        shapes, indices, numbers = look(self)
        self.image_size = default_size(shapes) if size is None else size
        if size is None:
            self.size_remark = size_in_words(shapes, self.image_size)
        self.is_size_said = size is not None
        self.in_channels = common_channels(
            [shape[0] for shape in shapes],
            in_channels,
            skips=on_error == "skip",
            name=lambda place: self.name(indices[place]),
        )
        self.loses_channels = in_channels is not None
        if self.looks_at_numbers:
            self.found = probed_values(self, self.image_size, numbers)
            self.values = resolved(self.wanted_values, self.found)
            warn_of_range(self.found, self.values)
        if cache is not None:
            self.stored = open_cache(self, cache)

    @property
    def value_range(self) -> tuple[Any, Any] | None:
        """`(low, high)`, the numbers that are black and white; `None` where their type says it."""
        return None if self.values is None else self.values.plain

    @property
    def values_in_words(self) -> str:
        """One line on the numbers that were found in some images, and what is made of them."""
        return "no numbers were found" if self.found is None else in_words(self.found, self.values)

    @property
    def remark(self) -> str | None:
        """The same, where there is something to remark: numbers that are not those of 8 bits."""
        is_usual = self.found is None or (self.values is None and self.found.kinds == ("uint8",))
        return None if is_usual else f"Images: {self.values_in_words}"

    @property
    def num_images(self) -> int | None:
        """How many images there are; None of a stream of which nobody knows it."""
        return len(self)

    @property
    def at_hand(self) -> int:
        """How many images, from the first one on, can be asked for by their position."""
        return len(self)

    @property
    def decodes_files(self) -> bool:
        """Whether every epoch decodes files, which a cache would end."""
        return self.stored is None and isinstance(self.items, FileList)

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
        if self.stored is None:
            return self.decode(index)
        found = self.stored.sample(index)
        if found is not None:
            return found
        decoded = self.decode(index)
        if isinstance(decoded, Sample):
            self.stored.mend(decoded)
        return decoded

    def __getitems__(self, indices: Sequence[int]) -> Batch | list[Sample | Unreadable]:
        """Reads some images, at once where they lie in one piece.

        Args:
            indices: Positions in the dataset.

        Returns:
            What `source[i]` gives for each.
        """
        total = len(self)
        wrong = [index for index in indices if not -total <= index < total]
        if wrong:
            self._checked(wrong[0])
        chosen = torch.tensor(indices, dtype=torch.int64).remainder(total)
        gives_its_own = type(self).__getitem__ is not ImageSource.__getitem__  # a user's class
        batch = None if gives_its_own else self.select(chosen)
        return [self[index] for index in chosen.tolist()] if batch is None else batch

    def select(self, indices: Tensor) -> Batch | None:
        """Some samples at once, where they lie in one piece and can all be read; else `None`.

        Args:
            indices: `[B]` int64, none negative.
        """
        if self.stored is not None:
            return self.stored.select(indices)
        if not isinstance(self.items, ArrayItems):
            return None
        try:
            images, labels = self.items.select(indices, self.values, self.reader.channels)
            images = self._fitted(images)
        except (TypeError, ValueError):  # one by one they are read: the culprit is named
            return None
        is_repeated = images.stride(1) == 0  # grey in three channels: in-place work would fail
        return Batch(images.contiguous() if is_repeated else images, indices, labels)

    def cached(self, path: str | os.PathLike[str], *, progress: bool = True) -> ImageSource:
        """The same source with its images in a file, decoded and resized: later runs only read it.

        The file is built now, if there is none or a source file has changed since (another name,
        size or time), or if images of another size or number of channels are wanted. It is a plain
        `.npy` of `N * H * W * C` bytes. More than 2 GB lie in several (`images.00000.npy`, ...): of
        these only such are built anew in which something has changed. Processes may share them,
        and build them at the same time, each another one; what a process that was killed had
        finished stays. Each image is checked as it is read: one that is damaged is decoded again
        and written back, with a warning, and so is a file that is damaged as a whole.

        Args:
            path: The file; `.npy` is added.
            progress: Whether to show how far it is, while it is built.

        Raises:
            TypeError: The images come from no files.
            ValueError: An image has more than 8 bits, or `path` is a file of another kind.
            OSError: An image cannot be read (`on_error="raise"`), or the disk is too small.
        """
        source = copy.copy(self)
        source.stored = open_cache(self, path, progress=progress)
        return source

    def subset(self, indices: Sequence[int]) -> ImageSource:
        """Some images of this source, as a source of their own; no image is read.

        Args:
            indices: Positions in it, in the order in which they shall stand. The `index` of a
                sample is its position among them.

        Raises:
            ValueError: If there is none, or one lies outside the source.
        """
        if len(indices) == 0:
            raise ValueError("expected at least one index, got none")
        if min(indices) < 0 or max(indices) >= len(self):
            raise ValueError(
                f"indices must lie in [0, {len(self)}), got {min(indices)} to {max(indices)}: "
                "were they chosen from another dataset?"
            )
        labels, chosen = self.given_labels, list(indices)
        return _Part(self, chosen, None if labels is None else labels[torch.tensor(chosen)])

    def at_size(self, image_size: tuple[int, int]) -> ImageSource | None:
        """The same images at another size; nothing is read.

        Args:
            image_size: Height and width, pixels.

        Returns:
            `None` where the size was said, or is that of a cache, or a class of another kind has
            chosen it: then another one is a contradiction.
        """
        if type(self) is not ImageSource or self.is_size_said or self.stored is not None:
            return None
        source = copy.copy(self)
        source.image_size, source.size_remark, source.is_size_said = image_size, None, True
        return source

    def with_labels(self, labels: Tensor | Sequence[int]) -> ImageSource:
        """The same images with other labels than the dataset has, or with the first that it has.

        Args:
            labels: `[N, ...]`, one of each image. The names of its classes are no longer known.

        Raises:
            ValueError: If there are more or fewer than images.
        """
        column = as_column(torch.as_tensor(labels))
        if column.ndim == 0 or len(column) != len(self):
            raise ValueError(
                f"expected one label an image, got labels {list(column.shape)} for "
                f"{plural(len(self), 'image')}"
            )
        part = _Part(self, range(len(self)), column)
        part.classes = None
        return part

    def decode(self, index: int) -> Sample | Unreadable:
        """What `source[index]` gives, read from the dataset whether it is stored or not."""
        try:
            image, label = self.read_whole(index, self.image_size)
        except ReadingError as error:
            if self.on_error == "skip":
                return Unreadable(index, self.name(index), error.reason)
            self.fail(index, error)
        if not can_become(image.shape[0], self.in_channels):
            reason = misfit(image.shape[0], self.in_channels, is_given=self.loses_channels)
            if self.on_error == "skip":
                return Unreadable(index, self.name(index), reason)
            raise ValueError(
                f"{self.name(index)}: {reason}; or leave such images out with on_error='skip'"
            )
        if image.shape[0] > self.in_channels and not self.loses_channels:
            self.loses_channels = True  # said once
            warn(
                f"{self.name(index)} has {image.shape[0]} channels, but the images that were "
                f"looked at had {self.in_channels}, so that its colours are lost: give in_channels="
                f"{image.shape[0]}, or in_channels={self.in_channels} if that is meant"
            )
        try:
            return Sample(self._fitted(image), index, label)
        except ValueError as error:
            raise ValueError(f"{self.name(index)}: {error}") from error

    def _fitted(self, images: Tensor) -> Tensor:
        """One image or several, `[..., C, H, W]`, in the size and channels of this source."""
        if self.in_channels < images.shape[-3]:  # fewer channels to resize
            images = fit_channels(images, self.in_channels)
        return fit_channels(fit_size(images, self.image_size), self.in_channels)


class _Part(ImageSource):
    """Shows some images of a source, maybe with labels of their own.

    It says of itself what the whole says, and asks it for every image: the whole may be a class of
    the user's own.
    """

    whole: ImageSource

    def __init__(self, whole: ImageSource, chosen: Sequence[int], labels: Tensor | None) -> None:
        vars(self).update(vars(whole))
        self.whole = whole
        self.chosen = chosen  # positions in the whole
        self.given_labels = labels
        self.items = Subset(whole.items, chosen)
        self.stored = None

    @property
    def decodes_files(self) -> bool:
        return self.stored is None and self.whole.decodes_files

    def decode(self, index: int) -> Sample | Unreadable:
        """One of the chosen images, as the whole gives it."""
        found = self.whole[self.chosen[index]]
        if self.given_labels is None or isinstance(found, Unreadable):
            return found._replace(index=index)
        return Sample(found.image, index, self.given_labels[index])

    def select(self, indices: Tensor) -> Batch | None:
        if self.stored is not None:
            return self.stored.select(indices)
        if not is_our_source(self.whole):  # one by one, as a class of the user's own gives them
            return None
        batch = self.whole.select(torch.tensor([self.chosen[index] for index in indices.tolist()]))
        if batch is None:
            return None
        labels = batch.labels if self.given_labels is None else self.given_labels[indices]
        return Batch(batch.images, indices, labels)

    def at_size(self, image_size: tuple[int, int]) -> ImageSource | None:
        whole = None if self.stored is not None else self.whole.at_size(image_size)
        if whole is None:
            return None
        part = copy.copy(self)
        part.whole, part.image_size, part.size_remark = whole, image_size, None
        part.is_size_said = True
        return part

    def cached(self, path: str | os.PathLike[str], *, progress: bool = True) -> ImageSource:
        """The same part of a cached whole: one cache serves whatever is chosen from it."""
        part = copy.copy(self)
        part.whole, part.stored = self.whole.cached(path, progress=progress), None
        return part

    def item(self, index: int) -> Any:
        """The item as the dataset gives it; with labels of its own the image and its label."""
        item = self.whole.item(self.chosen[self._checked(index)])
        if self.given_labels is None:
            return item
        return split_item(item).image, self.given_labels[self._checked(index)]

    def name(self, index: int) -> str:
        return self.whole.name(self.chosen[self._checked(index)])

    def label(self, index: int) -> Tensor | None:
        if self.given_labels is not None:
            return self.given_labels[self._checked(index)]
        return label_at(self.whole, self.chosen[self._checked(index)])

    def known_labels(self) -> Labels | None:
        if self.given_labels is not None:
            return self.given_labels
        known = self.whole.known_labels() if is_our_source(self.whole) else None
        return None if known is None else chosen_labels(known, self.chosen)
