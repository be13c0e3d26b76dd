"""`StreamSource`: images that come one after the other, and that nobody can ask for by a number.

Shapes: `N` images, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from super_selfish.data.collate import stack_labels
from super_selfish.data.conversion import stack_images
from super_selfish.data.decoding import DECODING_ERRORS
from super_selfish.data.file_reader import Loader
from super_selfish.data.fitting import parse_size
from super_selfish.data.frames import Pages
from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import known_classes
from super_selfish.data.samples import Batch, DatasetError, ReadingError, Sample, Unreadable
from super_selfish.data.sources import ImageSource
from super_selfish.data.stored import HeldImages
from super_selfish.data.streams import Split, Stream, stream_of
from super_selfish.data.tar_items import as_item, name_of
from super_selfish.data.value_range import Range, ValueRange, parse_value_range
from super_selfish.training.typed import as_count

PROBED = 32  # first items, of which sizes, channels and numbers are looked at
MOST_AT_HAND = 512  # first images that are kept once somebody wants to see some
SHUFFLE_BUFFER = 1000  # images; at 225x225 pixels 150 MB for each process that reads


class StreamSource(ImageSource):
    """Reads a stream of images as samples of one size.

    Whoever wants to look at some images (a report, a monitor, the colours that a dataset has) gets
    the first ones.

    Attributes:
        stream: The data set, with what is known of how it is read.
        num_images: How many images a pass has; None where nobody knows.
        has_index: Whether each image has a number of its own, the same in every pass.
        shuffle_buffer: Images among which the order is drawn.
        is_repeatable: Whether the stream gives the same items whenever it is begun alike.
    """

    has_random_access = False

    def __init__(
        self,
        dataset: Any,
        num_images: int | None = None,
        image_size: int | Sequence[int] | None = None,
        in_channels: int | None = None,
        *,
        index: str | Callable[[Any], int] | None = None,
        split: Split | None = None,
        deterministic: bool | None = None,
        shuffle_buffer: int = SHUFFLE_BUFFER,
        on_error: Literal["raise", "skip"] = "raise",
        value_range: Range = None,
        pages: Pages = None,
        loader: Loader | None = None,
    ) -> None:
        """Looks at the first items, if the stream can be begun again.

        Args:
            dataset: An `IterableDataset` of torch, a set of `webdataset`, mosaicml's `streaming` or
                Hugging Face's `datasets`, or anything that one can iterate over. Its items are
                those that `ImageSource` takes: PIL images, tensors, arrays, paths, or bytes of
                files, bare, first in a tuple, or in a dict.
            num_images: Images of a pass over the stream. Default: its `len()`; where it has none,
                `supervise(steps_per_epoch=...)` says how long an epoch is.
            image_size: As for `ImageSource`. It must be given where the stream cannot be begun
                again, since a look at its first items would use them up.
            in_channels: As for `ImageSource`; where nothing can be looked at, 3.
            index: Where an item holds the number of its image, in `[0, num_images)` and the same in
                every pass: a key of a dict, or a function of the item. Algorithms that remember
                every image need it.
            split: Who splits the stream over processes and their workers. `"samples"`: all read all
                of it, and each takes every n-th item. `"own"`: the stream does it. Default: the
                sets of the libraries above do it themselves; others are split by samples over
                workers, and with several processes you are asked.
            deterministic: Whether the stream gives the same items in the same order whenever it is
                begun alike (with the same `set_epoch`, if it has that). Then a run that goes on
                skips what it has seen, where the stream cannot say where it is. Default: True for
                Hugging Face's and mosaicml's, else False.
            shuffle_buffer: Images in memory, of each process that reads, among which
                `supervise(shuffle=True)` draws the order; 0 leaves the order to the stream.
            on_error: As for `ImageSource`.
            value_range: As for `ImageSource`.
            pages: As for `ImageSource`.
            loader: As for `ImageSource`.

        Raises:
            TypeError: One cannot iterate over it.
            ValueError: It is empty, none of its first images can be read, an option is wrong, or
                `image_size` is missing where nothing can be looked at.
        """
        if num_images is not None:
            num_images = as_count("num_images", num_images)
        if not isinstance(shuffle_buffer, int) or shuffle_buffer < 0:
            raise ValueError(f"shuffle_buffer is a number of images, or 0, got {shuffle_buffer!r}")
        self.dataset = dataset
        self.stream: Stream = stream_of(dataset, split)
        self.restarts = self.stream.restarts
        self._index = index
        self._first: ImageSource | None = None
        if not self.restarts:
            if image_size is None:
                raise ValueError(
                    f"a look at the first images of this {type(dataset).__name__} would use them "
                    "up, since it cannot be begun again: give image_size= (and in_channels=, if it "
                    "is not 3)"
                )
            if isinstance(parse_value_range(value_range), str):
                raise ValueError(
                    f"value_range={value_range!r} looks at images, which this stream gives only "
                    "once: give (low, high)"
                )
            in_channels = 3 if in_channels is None else in_channels
        probed = _Looked if self.restarts else _Unseen
        items = self._probed(on_error) if self.restarts else [_blank(image_size, in_channels)]
        looked = probed(
            _FirstItems(items),
            image_size,
            in_channels,
            on_error=on_error,
            value_range=value_range,
            pages=pages,
            loader=loader,
        )
        vars(self).update(vars(looked) | {"dataset": dataset})
        if isinstance(self.wanted_values, ValueRange):
            self.values = self.wanted_values
        self.items = _Nothing()
        self.classes = known_classes(dataset)
        self._declared = self.stream.length if num_images is None else num_images
        if index is not None and self._declared is None:
            raise ValueError("index= numbers the images of a pass: give num_images= as well")
        self.shuffle_buffer = shuffle_buffer
        self.is_repeatable = (
            self.stream.is_repeatable if deterministic is None else bool(deterministic)
        )

    @property
    def num_images(self) -> int | None:
        """Images of a pass, if anybody knows."""
        return self._declared

    @property
    def has_index(self) -> bool:  # type: ignore[override]
        """Whether each image has a number of its own."""
        return self._index is not None

    @property
    def at_hand(self) -> int:
        """How many of the first images can be looked at; reads them."""
        return 0 if not self.restarts else len(self._kept(MOST_AT_HAND))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What of it decides which images a step sees."""
        return {"shuffle_buffer": self.shuffle_buffer, "split": self.stream.split or "samples"}

    def __len__(self) -> int:
        """Images of a pass.

        Raises:
            TypeError: Nobody knows how many there are.
        """
        if self._declared is None:
            raise TypeError(
                "nobody knows how many images this stream has: give StreamSource(dataset, "
                "num_images=...), or supervise(steps_per_epoch=...)"
            )
        return self._declared

    def first(self, number: int) -> ImageSource:
        """The first images of the stream, read into memory, for who asks for images by number.

        Args:
            number: How many; fewer if there are no more, or some cannot be read.

        Returns:
            A source of its own, with their labels.

        Raises:
            ValueError: The stream cannot be begun again, or none can be read.
        """
        if not self.restarts:
            raise ValueError("this stream cannot be begun again: its first images would be lost")
        return _Kept(self, self._read(as_count("number", number)))

    def subset(self, indices: Sequence[int]) -> ImageSource:
        """Some of the first images, in memory; or all, where they have numbers of their own.

        Args:
            indices: Their positions.

        Raises:
            ValueError: One lies beyond the images that are kept.
        """
        if self.has_index and len(indices) == self._declared and _counts_up(indices):
            part = copy.copy(self)
            part.whole = self
            return part
        kept = self._kept(MOST_AT_HAND)
        if len(indices) and max(indices) >= len(kept):
            raise ValueError(
                f"image {max(indices)} is asked for by its number, but a stream gives its images "
                f"one after the other: only the first {len(kept)} are at hand. {INSTEAD}"
            )
        return kept.subset(indices)

    def with_labels(self, labels: Tensor | Sequence[int]) -> ImageSource:
        """Refuses: labels come with the images of a stream.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "the labels of a stream come with its images, as (image, label): other ones cannot be "
            f"put beside them. {INSTEAD}"
        )

    def cached(self, path: Any, *, progress: bool = True) -> ImageSource:
        """Refuses: nothing of a stream comes twice at the same place.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "cache= keeps images that can be asked for by their number, which those of a stream "
            f"cannot: leave it out. {INSTEAD}"
        )

    def __getitem__(self, index: int) -> Sample | Unreadable:
        """One of the first images."""
        return self._kept(index + 1)[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch | list[Sample | Unreadable]:
        """Some of the first images."""
        return self._kept(max(indices, default=0) + 1).__getitems__(indices)

    def decode(self, index: int) -> Sample | Unreadable:
        """One of the first images."""
        return self[index]

    def item(self, index: int) -> Any:
        """One of the first images, with its label."""
        return self._kept(index + 1).item(index)

    def label(self, index: int) -> Tensor | None:
        """The label of one of the first images."""
        return self._kept(index + 1).label(index)

    def name(self, index: int) -> str:
        """What it is called in messages."""
        return f"image {index} of the stream"

    def known_labels(self) -> None:
        """Nothing: labels come with the images."""

    def passing(self) -> Passing:
        """What reads the items, for the processes that do it."""
        return Passing(self, self._index)

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: not the images that were kept to be looked at."""
        return {**vars(self), "_first": None}

    def _kept(self, least: int) -> ImageSource:
        """The first images, at least so many of them if there are."""
        if least > MOST_AT_HAND:
            raise IndexError(
                f"image {least - 1} is asked for by its number, but of a stream only the first "
                f"{MOST_AT_HAND} are at hand. {INSTEAD}"
            )
        if self._first is None or len(self._first) < least:
            wanted = min(MOST_AT_HAND, max(16, 2 * least))
            if self._first is None or getattr(self._first, "asked", 0) < wanted:
                self._first = _Kept(self, self._read(wanted), wanted)
        return self._first

    def _read(self, number: int) -> list[Sample]:
        passing = self.passing()
        found: list[Sample] = []
        items = self.stream.look()
        for taken in range(number if self._declared is None else self._declared):
            if len(found) == number:
                break
            try:
                item = next(items)
            except StopIteration:
                break
            except DECODING_ERRORS as error:
                sample: Sample | Unreadable = passing.failed(taken, error)
                if not items.goes_on:
                    break
            else:
                sample = passing.read(item, taken)
            if isinstance(sample, Sample):
                found.append(sample._replace(index=len(found)))
        if not found:
            raise ValueError(f"none can be read of the first images of {_kind(self.dataset)}")
        return found

    def _probed(self, on_error: str) -> list[Any]:
        """The first items, as they are."""
        found: list[Any] = []
        items = self.stream.look()
        for _ in range(PROBED):
            try:
                found.append(as_item(next(items)))
            except StopIteration:
                break
            except DECODING_ERRORS as error:
                if on_error == "raise":
                    reason = ReadingError(error).reason
                    raise ValueError(
                        f"cannot read image {len(found)} of the stream: {reason}"
                    ) from error
                found.append(None)
                if not items.goes_on:
                    break
        if not found:
            raise ValueError(f"expected at least one image, got an empty {_kind(self.dataset)}")
        return found


INSTEAD = (
    "StreamSource(...).first(5000) reads its first 5000 images, with their labels, into memory; a "
    "folder or a dataset with __getitem__ does as well"
)


class Passing(ImageSource):
    """Reads the one item that passes."""

    def __init__(self, source: StreamSource, index: str | Callable[[Any], int] | None) -> None:
        """Takes from a source how images are read, and nothing of its data."""
        vars(self).update(vars(source))
        for name in ("stream", "_first", "_index"):
            vars(self).pop(name)
        self.dataset, self.items = _kind(source.dataset), [None]
        self._where = index
        self._name = ""

    def read(self, item: Any, number: int) -> Sample | Unreadable:
        """A sample of an item.

        Args:
            item: As the stream gives it.
            number: Of the image, where it has none of its own.

        Raises:
            OSError: It cannot be read (`on_error="raise"`).
            ValueError: The same, or its own number is none.
        """
        own = number if self._where is None else self._own_number(item)
        self._name = name_of(item) or f"image {number} of the stream"
        self.items = [as_item(item)]
        return ImageSource.decode(self, 0)._replace(index=own)

    def failed(self, number: int, error: Exception) -> Unreadable:
        """What stands for an item that the stream itself could not read.

        Raises:
            OSError: Such images are not skipped.
            ValueError: The same.
        """
        self._name = f"image {number} of the stream"
        reading = ReadingError(error)
        if self.on_error == "raise":
            self.fail(0, reading)
        return Unreadable(number, self._name, reading.reason)

    def name(self, index: int) -> str:
        """What the item is called in messages."""
        return self._name

    def _own_number(self, item: Any) -> int:
        try:
            found = self._where(item) if callable(self._where) else item[self._where]
        except (LookupError, TypeError) as error:
            raise DatasetError(
                f"index={self._where!r} finds no number in an item of the stream, a "
                f"{type(item).__name__}: {type(error).__name__}: {error}"
            ) from error
        number = int(found)
        if not 0 <= number < len(self):
            raise ValueError(
                f"index={self._where!r} says that an image of the stream is number {number}, but "
                f"num_images={len(self)}: they count from 0"
            )
        return number

    def __len__(self) -> int:
        """Images of a pass; 0 where nobody knows."""
        return vars(self)["_declared"] or 0


class _Kept(ImageSource):
    """The first images of a stream, in memory."""

    def __init__(self, source: StreamSource, samples: list[Sample], asked: int = 0) -> None:
        vars(self).update(vars(source))
        for name in ("stream", "_first", "_index"):
            vars(self).pop(name)
        self.asked = asked
        images = stack_images([sample.image for sample in samples])
        labels, _ = stack_labels([sample.label for sample in samples])
        self.items = ArrayItems(images, labels)
        self.stored = HeldImages(images, labels, ())
        self.size_remark = None


class _FirstItems:
    """Items of a stream in a list, of which nobody thinks that it is something else."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


class _Nothing:
    """What a stream has of items that can be asked for."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(f"a stream has no item {index}. {INSTEAD}")


class _Looked(ImageSource):
    """The first images, as they are looked at."""

    def name(self, index: int) -> str:
        return f"image {index} of the stream"


class _Unseen(ImageSource):
    """Of images that nobody may look at."""

    looks_at_numbers = False


def _blank(image_size: int | Sequence[int] | None, in_channels: int | None) -> Tensor:
    """An image that stands for those that nobody may look at."""
    height, width = parse_size(32 if image_size is None else image_size)
    return torch.zeros(in_channels or 3, height, width, dtype=torch.uint8)


def _counts_up(indices: Sequence[int]) -> bool:
    return all(place == index for place, index in enumerate(indices))


def _kind(dataset: Any) -> str:
    return type(dataset).__name__
