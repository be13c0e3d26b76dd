"""Reads all images of a source once, each in its own size, and keeps footprints of them.

Shapes: `N` images, `B` batch, `C, H, W` channels, height, width.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from super_selfish.data.conversion import stack_images
from super_selfish.data.files import FileList
from super_selfish.data.fitting import Size
from super_selfish.data.items import ArrayItems
from super_selfish.data.known_labels import is_our_source
from super_selfish.data.samples import SKIPPED_LABEL, DatasetError, ReadingError, Sample
from super_selfish.data.sources import ImageSource
from super_selfish.data.workers import batches_of, workers_ended
from super_selfish.evaluation.checking.footprints import Footprints, footprints_of, joined
from super_selfish.evaluation.checking.tally import Tally
from super_selfish.training.display import DELAY, open_bar

_BATCH = 256  # images a worker hands over at once
_BYTES = 2**25  # of an array that are looked at together
_WORTH = 2000  # files, from which on workers are started
Label = int | tuple[int, ...] | None
_FAILURES = (ReadingError, DatasetError, ValueError, TypeError, OSError)


class LookedOver(NamedTuple):
    """What one pass over images gives.

    Attributes:
        footprints: Of the images that can be read, in order.
        tally: Counts over all of them.
        labels: Of each of these images, if the items give classes, else `None`.
        unreadable: Why the others cannot be, by position.
        kinds: How many images came as which type of numbers.
        seconds: How long it took.
    """

    footprints: Footprints
    tally: Tally
    labels: list[Label]
    unreadable: dict[int, str]
    kinds: dict[str, int]
    seconds: float


class _Part(NamedTuple):
    """The same of one batch, without tensors: each would travel in an open file of its own."""

    footprints: list[Footprints]
    tallies: list[Tally]
    labels: dict[int, Label]
    unreadable: dict[int, str]
    kinds: dict[str, int]
    asked: int


def look_over(
    source: ImageSource,
    indices: Sequence[int] | None = None,
    *,
    label: str,
    cover: Size,
    num_workers: int | None = None,
    progress: bool = True,
    seconds: float | None = None,
) -> LookedOver:
    """Reads images.

    Args:
        source: Where from.
        indices: Which; `None` is all.
        label: Of the bar.
        cover: Size to which images are reduced later: of far larger JPEGs fewer pixels are decoded.
        num_workers: Processes that read; `None`: one a core for many files, else none.
        progress: Whether to show a bar.
        seconds: Ends the pass after so long, at the end of a batch.

    Raises:
        ValueError: Not one image can be read.
        WorkerError: A process that reads was killed.
    """
    wanted: Sequence[int] = range(len(source)) if indices is None else indices
    began = time.monotonic()
    if num_workers is None:
        num_workers = _workers_for(source, len(wanted))
    loader: DataLoader[Any] = DataLoader(
        _Reader(source, wanted, cover),
        batch_size=_BATCH,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # seeds the workers; torch's own stream is left alone
    )
    parts: list[_Part] = []
    with (
        workers_ended(loader),
        open_bar(label, len(wanted), "img", shown=progress, delay=DELAY) as bar,
    ):
        for part in batches_of(loader):
            parts.append(part)
            bar.update(part.asked)
            if seconds is not None and time.monotonic() - began > seconds:
                break
    unreadable = {place: why for part in parts for place, why in part.unreadable.items()}
    prints = [one for part in parts for one in part.footprints]
    if not prints:
        place, reason = next(iter(unreadable.items()))
        raise ValueError(
            f"none of {len(wanted)} images can be read; {source.name(place)}: {reason}"
        )
    kinds: dict[str, int] = {}
    for part in parts:
        for kind, number in part.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + number
    labels = {place: label for part in parts for place, label in part.labels.items()}
    footprints = joined(prints)
    return LookedOver(
        footprints,
        Tally.joined(tally for part in parts for tally in part.tallies),
        [labels[place] for place in footprints.index.tolist()],
        unreadable,
        kinds,
        time.monotonic() - began,
    )


def _as_it_is(part: Any) -> Any:
    return part


def class_of(label: Tensor | None) -> Label:
    """A label that is a class, or zeros and ones for several; -1, masks and the like are none."""
    if label is None or label.ndim > 1 or label.is_floating_point() or label.is_complex():
        return None
    if label.ndim == 0:
        return None if int(label) == SKIPPED_LABEL else int(label)
    return tuple(map(int, label.tolist()))


def _workers_for(source: ImageSource, number: int) -> int:
    """Processes that pay; data sets of the user's own may not like to be forked, so files alone."""
    if not source.decodes_files or number < _WORTH:
        return 0
    can_tell = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1


class _Reader(Dataset[Any]):
    """Gives the footprints of a batch; runs in the loader's workers."""

    def __init__(self, source: ImageSource, wanted: Sequence[int], cover: Size) -> None:
        self.source, self.wanted, self.cover = source, wanted, cover

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitems__(self, places: list[int]) -> _Part:
        indices = [self.wanted[place] for place in places]
        part = _Part([], [], {}, {}, {}, len(indices))
        root, positions = rooted(self.source, indices)
        if isinstance(root.items, ArrayItems) and is_our_source(root):
            self._look_at_rows(part, root, indices, positions)
        else:
            self._look_at_each(part, indices)
        return part

    def _look_at_rows(
        self, part: _Part, root: ImageSource, indices: list[int], positions: list[int]
    ) -> None:
        """Images that lie side by side; where one of them is none, one by one, to name it."""
        row = root.items.images.shape[1:]
        at_once = max(1, _BYTES // max(1, int(np.prod(row)) * 4))
        for start in range(0, len(indices), at_once):
            here = indices[start : start + at_once]
            chosen = torch.tensor(positions[start : start + at_once])
            try:
                images, labels = root.items.select(chosen, root.values, root.reader.channels)
            except (TypeError, ValueError):
                self._look_at_each(part, here)
                continue
            self._keep(part, images, here)
            if labels is not None:
                part.labels.update(zip(here, map(class_of, labels), strict=True))

    def _look_at_each(self, part: _Part, indices: list[int]) -> None:
        """Images one by one; those of one kind are put side by side, since much is done at once."""
        waiting: dict[Any, list[tuple[Tensor, int]]] = {}
        for index in indices:
            try:
                image, label = self._read(index)
            except _FAILURES as error:
                reason = error.reason if isinstance(error, ReadingError) else str(error)
                part.unreadable[index] = reason
                continue
            part.labels[index] = class_of(label)
            kind = (image.shape, image.dtype)
            alike = waiting.setdefault(kind, [])
            alike.append((image, index))
            if len(alike) * image.numel() * 4 >= _BYTES:
                self._keep_some(part, waiting.pop(kind))
        for alike in waiting.values():
            self._keep_some(part, alike)

    def _keep_some(self, part: _Part, alike: list[tuple[Tensor, int]]) -> None:
        images = stack_images([image for image, _ in alike])
        self._keep(part, images, [index for _, index in alike])

    def _read(self, index: int) -> tuple[Tensor, Tensor | None]:
        """One image, in its own size where that can be had."""
        root, (position,) = rooted(self.source, [index])
        if not is_our_source(root):  # a class of the user's own may give what it likes
            sample = root[position]
            if not isinstance(sample, Sample):
                raise ReadingError(ValueError(sample.reason))
            return sample.image, sample.label
        return root.read_whole(position, self.cover)

    def _keep(self, part: _Part, images: Tensor, indices: list[int]) -> None:
        found, tally = footprints_of(images, np.array(indices, np.int64))
        self._correct_sizes(found, indices)
        part.footprints.append(found)
        part.tallies.append(tally)
        kind = str(images.dtype).removeprefix("torch.")
        part.kinds[kind] = part.kinds.get(kind, 0) + len(images)
        for index in indices:
            part.labels.setdefault(index, None)

    def _correct_sizes(self, found: Footprints, indices: list[int]) -> None:
        """Of JPEGs that may have been decoded at a part of their size the header knows it."""
        if min(found.sizes[0, 1:]) < 2 * max(self.cover):
            return
        for row, index in enumerate(indices):
            root, (position,) = rooted(self.source, [index])
            if isinstance(root.items, FileList):
                shape = root.reader.shape(root.items, position)
                if shape is not None:
                    found.sizes[row, 1:] = shape[1:]


def rooted(source: ImageSource, indices: Sequence[int]) -> tuple[ImageSource, list[int]]:
    """The source of which this one shows some images, and their positions in it."""
    positions = list(indices)
    while source.whole is not None and hasattr(source, "chosen"):
        positions = [int(source.chosen[position]) for position in positions]
        source = source.whole
    return source, positions
