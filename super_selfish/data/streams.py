"""Streams: data sets that give their items one after the other, and who reads which of them.

A stream may be begun again, in another order each time (`set_epoch`); it may say where it stands
and go on from there (`state_dict`); and it may split itself over processes and workers. Libraries
agree on the names of these, and differ in what they do, which the classes below make alike.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch.utils.data._utils.worker as torch_worker
from torch.utils.data import IterableDataset

from super_selfish.data.decoding import DECODING_ERRORS
from super_selfish.training.plain import plain

Split = Literal["samples", "own"]


class Share(NamedTuple):
    """Which reader of a stream one is, among all of all processes."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1  # of a process

    @property
    def number(self) -> int:
        """Of this reader, from 0."""
        return self.rank * self.workers + self.worker

    @property
    def total(self) -> int:
        """Readers of all processes."""
        return self.world_size * self.workers


class Stream:
    """Any `IterableDataset`, or what one can iterate over like it.

    It is read as a whole by every reader, which takes each n-th item; or it splits itself, which
    only its author knows.

    Attributes:
        dataset: What the user gave.
        split: `"samples"`, `"own"`, or None where nobody has said which.
    """

    splits_itself: ClassVar[bool] = False  # known of the data sets of a library
    is_repeatable: ClassVar[bool] = False  # known to give the same items whenever it is begun alike
    counts_for_all: ClassVar[bool] = False  # a position is that of all readers together

    def __init__(self, dataset: Any, split: Split | None = None) -> None:
        """Takes the data set, of which nothing is read."""
        self.dataset = dataset
        self.split = split or ("own" if self.splits_itself else None)
        self._holder: Any = None  # of the state, once there is an iterator
        self._fresh: Any = _state_of(dataset) if self._may_rewind else None
        self._is_amid = False

    @property
    def length(self) -> int | None:
        """Number of items, where the data set tells."""
        try:
            return len(self.dataset)
        except (TypeError, NotImplementedError):
            return None

    @property
    def restarts(self) -> bool:
        """Whether it can be begun again: one that is its own iterator goes on where it is."""
        if isinstance(self.dataset, Iterator):
            return False
        return iter(self.dataset) is not iter(self.dataset)

    @property
    def _may_rewind(self) -> bool:
        """Whether a state that was told before the first item brings it back there."""
        return True

    def settle(self, seed: int, *, shuffle: bool) -> None:
        """Is told the seed of the run, and whether the order shall differ between epochs."""

    def look(self) -> Portion:
        """The first items, for whoever wants to see some; a pass under way is left alone."""
        return self.copied().begin(0, Share())

    def copied(self) -> Stream:
        """The same stream with a place and an epoch of its own."""
        stream = copy.copy(self)
        if any(hasattr(self.dataset, name) for name in ("state_dict", "set_epoch")):
            stream.dataset = copy.deepcopy(self.dataset)
        return stream

    def begin(self, number: int, share: Share, taken: int = 0, state: Any = None) -> Portion:
        """Begins a pass.

        Args:
            number: Of the pass, from 0: another order where the data set has one for each.
            share: Who reads.
            taken: Items of this reader that are not wanted again.
            state: What `state()` said after so many; without it they are read, and left out.
        """
        self._set_epoch(number)
        step, first = (1, 0) if self.split == "own" else (share.total, share.number)
        done = 0
        if state is None:
            if self._is_amid and self._fresh is not None:
                self.dataset.load_state_dict(self._fresh)
            items = iter(self.dataset)
        else:
            items = self._begun_at(state)
            done = first + (taken - 1) * step + 1 if taken else 0
        self._is_amid = True
        self._holder = items if hasattr(items, "state_dict") else self.dataset
        return Portion(items, first + taken * step - done, step, alone=self.split != "own")

    def state(self) -> Any:
        """Where the pass stands, after the last item; None if the stream does not tell."""
        return _state_of(self._holder)

    def ended(self) -> None:
        """Is told that the pass has given its last item."""
        self._is_amid = False

    def _begun_at(self, state: Any) -> Any:
        if hasattr(self.dataset, "load_state_dict"):
            self.dataset.load_state_dict(state)
            return iter(self.dataset)
        items: Any = iter(self.dataset)
        items.load_state_dict(state)
        return items

    def _set_epoch(self, number: int) -> None:
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(number)


class Portion:
    """The items of one reader.

    Attributes:
        goes_on: Whether it can give items after one that failed: a generator cannot.
    """

    def __init__(self, items: Any, before: int, step: int = 1, *, alone: bool = True) -> None:
        """Takes an iterator.

        Args:
            items: It, as it was just begun.
            before: Items to be left out first.
            step: From one item of this reader to the next one.
            alone: Whether the stream shall believe that nobody else reads it, since all is read by
                all; else one that knows of torch's workers would give a part of a part.
        """
        self._items = iter(items)
        self._before = before
        self._step = step
        self._alone = alone
        self.goes_on = not inspect.isgenerator(self._items)

    def __iter__(self) -> Portion:
        """Itself."""
        return self

    def __next__(self) -> Any:
        """The next item; raises what the stream raises."""
        with _alone() if self._alone else _as_it_is():
            while self._before > 0:
                self._before -= 1
                try:
                    next(self._items)
                except DECODING_ERRORS:  # whoever it is for says so
                    if not self.goes_on:
                        raise
            self._before = self._step - 1
            return next(self._items)


@contextmanager
def _alone() -> Iterator[None]:
    """While entered, data sets see no workers of torch's."""
    worker: Any = torch_worker
    known = worker._worker_info
    worker._worker_info = None
    try:
        yield
    finally:
        worker._worker_info = known


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _state_of(holder: Any) -> Any:
    """What `state_dict()` says, as a checkpoint keeps it; None if there is none that it could."""
    tell = getattr(holder, "state_dict", None)
    if tell is None or not callable(getattr(holder, "load_state_dict", None)):
        return None
    try:
        return plain(tell())
    except TypeError:  # no plain value
        return None


class HuggingFaceStream(Stream):
    """A streaming set of `datasets`: it splits shards over workers, and over processes when asked.

    Its images are decoded here, so that those that cannot be are known by their number.
    """

    splits_itself = True
    is_repeatable = True

    def __init__(self, dataset: Any, split: Split | None = None) -> None:
        """Takes the data set."""
        super().__init__(_undecoded(dataset), split)
        self._is_split = getattr(dataset, "_distributed", None) is not None

    @property
    def _may_rewind(self) -> bool:
        return False

    def begin(self, number: int, share: Share, taken: int = 0, state: Any = None) -> Portion:
        """Begins a pass of what is of this process."""
        if share.world_size > 1 and not self._is_split:
            distributed: Any = importlib.import_module("datasets.distributed")
            self.dataset = distributed.split_dataset_by_node(
                self.dataset, rank=share.rank, world_size=share.world_size
            )
            self._is_split = True
        return super().begin(number, share, taken, state)


def _undecoded(dataset: Any) -> Any:
    """The same set, with images as the bytes of their files."""
    features = getattr(dataset, "features", None) or {}
    for name, feature in features.items():
        if type(feature).__name__ == "Image" and getattr(feature, "decode", False):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


class WebStream(Stream):
    """A pipeline of `webdataset`: shards are split by its own stages."""

    splits_itself = True


class MosaicStream(Stream):
    """A set of mosaicml's `streaming`: it splits itself, and counts for all readers at once."""

    splits_itself = True
    is_repeatable = True
    counts_for_all = True

    @property
    def _may_rewind(self) -> bool:
        return False

    @property
    def length(self) -> int:
        """Images of all processes; `len()` says those of one."""
        size = getattr(self.dataset, "epoch_size", None) or self.dataset.size
        return int(size)

    def look(self) -> Portion:
        """The first items by their numbers: its readers would wait for one another."""
        return Portion((self.dataset[number] for number in range(self.dataset.size)), 0)

    def copied(self) -> Stream:
        """Itself: its readers share memory."""
        return self

    def place(self, number: int, seen: int) -> None:
        """Says in every process, before its workers begin, where the next pass begins.

        Args:
            number: Of the pass.
            seen: Images of it that all processes have seen together.
        """
        state = self.dataset.state_dict(0, True)
        self.dataset.load_state_dict({**state, "epoch": number, "sample_in_epoch": seen})

    def begin(self, number: int, share: Share, taken: int = 0, state: Any = None) -> Portion:
        """Begins where `place` said."""
        return Portion(iter(self.dataset), 0, alone=False)

    def state(self) -> None:
        """Nothing: it is counted for all."""


# By the module and the name of a class that is among the parents of a data set's.
_KINDS: dict[tuple[str, str], type[Stream]] = {
    ("datasets", "IterableDataset"): HuggingFaceStream,
    ("webdataset", "DataPipeline"): WebStream,
    ("streaming", "StreamingDataset"): MosaicStream,
}


def is_stream(data: Any) -> bool:
    """Whether data can only be read from the beginning to the end.

    A generator is none: it is taken as one of paths, until `StreamSource` is told otherwise.
    """
    if isinstance(data, IterableDataset):
        return True
    if isinstance(data, str | bytes | Mapping | Iterator) or not isinstance(data, Iterable):
        return False
    return not (hasattr(data, "__len__") or hasattr(data, "__getitem__"))


def stream_of(dataset: Any, split: Split | None = None) -> Stream:
    """The stream of a data set of any library.

    Args:
        dataset: What the user gave.
        split: How it is split over readers, where the user says it.

    Raises:
        TypeError: If one cannot iterate over it.
        ValueError: If there is no such way to split.
    """
    if split not in (None, "samples", "own"):
        raise ValueError(f'split is "samples" or "own", got {split!r}')
    if not isinstance(dataset, Iterable):
        raise TypeError(
            f"expected a stream, such as an IterableDataset, got a {type(dataset).__name__}"
        )
    parents = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(dataset).__mro__]
    kind: Callable[..., Stream] = next((_KINDS[p] for p in parents if p in _KINDS), Stream)
    return kind(dataset, split)
