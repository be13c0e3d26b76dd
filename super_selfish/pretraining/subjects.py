"""The images that a call is given: opened once, at other sizes, with their labels if they have any.

Shapes: `N` images, `C, H, W` image.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.data.conversion import stack_images
from super_selfish.data.labels import labels_of
from super_selfish.data.likeness import likeness
from super_selfish.data.opening import as_source
from super_selfish.data.probing import SMALLEST_SIDE, look
from super_selfish.data.samples import DatasetError, Sample
from super_selfish.data.sources import ImageSource
from super_selfish.evaluation.features import LabelledSource, open_data
from super_selfish.evaluation.label_checks import as_classes, count_classes, has_label
from super_selfish.pretraining.rules import Size, held_out
from super_selfish.training.counting import plural

SAMPLED = 32  # images that are read to see how long that takes, and to time steps with


class Sampled(NamedTuple):
    """Some images, in memory."""

    images: Tensor  # [n, C, H, W]
    seconds_an_image: float  # to read one


class Rated(NamedTuple):
    """Images with labels to rate by, and those that are left to train on."""

    train: Any  # LabelledSource
    test: Any  # the same, or as the user gave them
    kept: Tensor  # [n] positions of images that training does not see


class Subject:
    """Images for pretraining.

    Attributes:
        source: At their own size, or that which the user has said.
        labels: `[N]` or `[N, Y]` that were given apart from the images, or None.
        own_size: Height and width of the images, the middle one where they differ.
        is_fixed: Whether their size is said, so that it is not to be chosen.
    """

    def __init__(
        self,
        images: Any,
        labels: Any = None,
        image_size: int | tuple[int, int] | None = None,
        in_channels: int | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens them.

        Args:
            images: Whatever `as_source` takes, or `(images, labels)`.
            labels: One an image.
            image_size: Said by the user.
            in_channels: Said by the user.
            reading: Further keywords of `as_source`, said by the user.

        Raises:
            ValueError: As `as_source`, or if there are not as many labels as images.
            TypeError: As `as_source`, or if labels are none.
        """
        if isinstance(images, Iterator):
            images = list(images)  # would be used up by one look
        if isinstance(labels, str | os.PathLike):
            raise TypeError(
                f"labels= has one an image, got {labels!r}: a table of paths and labels is given "
                "as the images"
            )
        if labels is not None:
            opened = open_data((images, labels), image_size, in_channels, reading)
        else:
            opened = self._opened(images, image_size, in_channels, dict(reading or {}))
        self.source, self.labels = opened.images, opened.labels
        self.is_fixed = image_size is not None or isinstance(images, ImageSource)
        self.is_fixed |= type(self.source) is not ImageSource or self.source.stored is not None
        self.own_size = self.source.image_size if self.is_fixed else own_size(self.source)

    @staticmethod
    def _opened(
        images: Any,
        image_size: int | tuple[int, int] | None,
        in_channels: int | None,
        reading: dict[str, Any],
    ) -> LabelledSource:
        if isinstance(images, tuple) and len(images) == 2:
            return open_data(images, image_size, in_channels, reading)
        return LabelledSource(as_source(images, image_size, in_channels, **reading), None)

    @property
    def num_images(self) -> int | None:
        """How many there are; None of a stream of which nobody knows it."""
        return self.source.num_images

    def at(self, size: Size) -> ImageSource:
        """The source with images of another size; nothing is read."""
        if size == self.source.image_size:
            return self.source
        source = copy.copy(self.source)
        source.image_size, source.size_remark = size, None
        return source

    def sampled(self, size: Size, seed: int) -> Sampled:
        """Reads some images, drawn by the seed, and times it.

        Raises:
            ValueError: If none can be read.
        """
        source = self.at(size)
        if not source.has_random_access:
            source = source.subset(range(min(SAMPLED, source.at_hand)))
        order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
        began = time.perf_counter()
        read = [source[index] for index in order[:SAMPLED].tolist()]
        seconds = (time.perf_counter() - began) / len(read)
        images = [sample.image for sample in read if isinstance(sample, Sample)]
        if not images:
            raise ValueError(f"none of {plural(len(read), 'image')} can be read")
        return Sampled(stack_images(images), seconds)

    def described(self) -> dict[str, Any]:
        """What the images are known again by, in plain values."""
        return {
            "number of images": self.num_images,
            "channels": self.source.in_channels,
            "size of the images": list(self.own_size),
            "value_range": repr(self.source.value_range),
            **likeness(self.source),
        }

    @property
    def has_labels(self) -> bool:
        """Whether they bring labels, as far as the first one tells."""
        if self.labels is not None:
            return True
        if not self.source.has_random_access:
            return False
        try:
            return self.source.label(0) is not None
        except (OSError, ValueError, TypeError, DatasetError):
            return False  # an image that cannot be read, of which training has a word

    def rated(self, size: Size, most: int, test: Any, seed: int) -> Rated | str:
        """Images to rate by, drawn by the seed.

        Args:
            size: Height and width at which they are seen.
            most: That the rating learns from, besides those of the test.
            test: A part of the user's own, as for `evaluate`; then none is kept from training.
            seed: Of the draw.

        Returns:
            Both parts; or a sentence that says why there are none.
        """
        known = self._known()
        if isinstance(known, str):
            return known
        number = len(known)
        order = known[torch.randperm(number, generator=torch.Generator().manual_seed(seed))]
        tested = held_out(number) if test is None else 0
        if test is None and not tested:
            what = "" if number == len(self.source) else " with a label"
            return f"{plural(number, 'image')}{what} are too few to keep some of them for a test"
        chosen = order[: tested + most]
        part = self.at(size).subset(chosen.tolist())
        given = labels_of(part) if self.labels is None else self.labels[chosen]
        if given is None:
            return "not all images have a label"
        try:
            labels = as_classes(given)
        except TypeError as error:
            return str(error)
        is_known = has_label(labels)
        is_test = torch.arange(len(labels)) < tested
        train = (is_known & ~is_test).nonzero().flatten()
        if len(train) == 0 or count_classes(labels[train]) < 2:
            return "all images have the same label"
        kept = (is_known & is_test).nonzero().flatten()
        if test is None:
            test = LabelledSource(part.subset(kept.tolist()), labels[kept])
        rated = LabelledSource(part.subset(train.tolist()), labels[train])
        return Rated(rated, test, chosen[kept])

    def drawn(self, number: int, seed: int) -> Tensor:
        """Positions `[n]` of some images, drawn by the seed; n is `number`.

        Args:
            number: Of images.
            seed: Of the draw.
        """
        order = torch.randperm(len(self.source), generator=torch.Generator().manual_seed(seed))
        return order[:number]

    def _known(self) -> Tensor | str:
        """Positions of images that have a label, as far as labels are at hand; or what they are."""
        labels = self.labels
        if labels is None and self.source.known_labels() is not None:  # such as those of a table
            labels = labels_of(self.source)
        if labels is None:  # those of the images are read with them, of those that are drawn
            return torch.arange(len(self.source))
        try:
            return has_label(as_classes(labels)).nonzero().flatten()
        except TypeError as error:
            return str(error)

    def training(self, size: Size, kept: Tensor | None, most: int | None, seed: int) -> ImageSource:
        """The images to train on, of a size.

        Args:
            size: Height and width.
            kept: Positions of images that it shall not see.
            most: How many; None for all.
            seed: Of the draw of these.
        """
        source = self.at(size)
        if not source.has_random_access:
            return source
        number = len(source)
        free = torch.ones(number, dtype=torch.bool)
        if kept is not None:
            free[kept] = False
        places = free.nonzero().flatten()
        if most is not None and most < len(places):
            drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
            places = places[drawn[:most]].sort().values
        return source if len(places) == number else source.subset(places.tolist())


def own_size(source: ImageSource) -> Size:
    """Height and width of the images; a square of the middle shorter side where they differ.

    Args:
        source: Opened without a size.
    """
    if not source.has_random_access:
        return source.image_size
    shapes = {shape[1:] for shape in look(source).shapes}
    if len(shapes) == 1:
        height, width = shapes.pop()
    else:
        height = width = round(statistics.median(min(shape) for shape in shapes))
    return max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE)
