"""The order of the batches, and the loader that reads them.

The order depends on (seed, epoch) alone, so a run can be repeated, and resumed in the middle of an
epoch, with any number of workers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from super_selfish.data.collate import Collator
from super_selfish.data.filling import FilledBatches, ReadableItems
from super_selfish.data.samples import ReadingError, Unreadable
from super_selfish.data.sources import ImageSource
from super_selfish.training.randomness import step_generator


class EpochBatches(Sampler[list[int]]):
    """Batches of dataset indices for one epoch after the other.

    Every image is seen once an epoch. The last batch may be smaller; a last batch of a single image
    is added to the one before it, because batch norm cannot train on one image. Of several
    processes each takes its slice of every whole batch, and the end is filled up from the start.

    So the order of the images, and which of them a full step has, depend on how many a step has in
    all processes together, and not on how many processes there are.

    Attributes:
        is_one_order: Whether a place in an epoch is a number of images: see `step_after`.
    """

    is_one_order = True

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Starts at the beginning of epoch 0.

        Args:
            num_images: Size of the dataset.
            batch_size: Images a batch and process.
            shuffle: Whether every epoch has an order of its own.
            seed: Seed of the run.
            rank: Number of this process.
            world_size: Number of processes.

        Raises:
            ValueError: If there is no image, or the batch size is not positive.
        """
        if num_images < 1:
            raise ValueError("the dataset is empty")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.num_images = num_images
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first_step = 0
        self._entry = (-1, -1, 0)  # epoch, step, and how many images come before it

    def start_at(self, epoch: int, step: int = 0) -> None:
        """Sets where the next iteration begins."""
        self.epoch = epoch
        self.first_step = step

    def of(self, rank: int) -> EpochBatches:
        """The batches of another process of the run.

        Args:
            rank: Its number.
        """
        other = copy.copy(self)
        other.rank = rank
        return other

    def step_after(self, seen: int) -> int:
        """The step in which an epoch goes on that another number of processes has begun.

        Args:
            seen: Images of the epoch that come before, of any number.

        Returns:
            The step, whose batch ends where it always does, so that those after it are as ever.
            Where this would leave it too small to train on, the next step takes it in.
        """
        last = len(self) - 1
        if seen >= self.num_images:
            return len(self)
        step = min(seen // self.images_per_step, last)
        is_small = (step + 1) * self.images_per_step - seen < self._fewest
        return step + 1 if step < last and is_small else step

    def enter(self, epoch: int, step: int, seen: int) -> None:
        """Has the batch of one step begin after so many images, instead of where it always does.

        Args:
            epoch: In which it is.
            step: Of `step_after`.
            seen: Images of the epoch that come before.
        """
        self._entry = (epoch, step, seen)

    @property
    def images_per_step(self) -> int:
        """Images of a full step, of all processes."""
        return self.batch_size * self.world_size

    @property
    def _fewest(self) -> int:
        """Images that a step needs, for batch norm in every process."""
        return self.world_size * min(2, self.batch_size)

    @property
    def images_per_process(self) -> int:
        """Images that each process sees in an epoch."""
        return -(-self.num_images // self.world_size)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        full, rest = divmod(self.images_per_process, self.batch_size)
        return max(1, full + (rest > (1 if self.batch_size > 1 else 0)))

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the batches of `epoch`, from `first_step` on."""
        if self.shuffle:
            generator = step_generator(self.seed, self.epoch)
            order = torch.randperm(self.num_images, generator=generator)
        else:
            order = torch.arange(self.num_images)
        size, last = self.images_per_step, len(self) - 1
        for step in range(self.first_step, len(self)):
            is_entry = (self.epoch, step) == self._entry[:2]
            begin = self._entry[2] if is_entry else step * size
            whole = order[begin : None if step == last else (step + 1) * size]
            lacking = -len(whole) % self.world_size
            if is_entry:
                lacking = max(lacking, self._fewest - len(whole))
            if lacking:
                whole = torch.cat([whole, order.repeat(-(-lacking // len(order)))[:lacking]])
            # Place modulo world_size: the processes together hold each whole batch.
            yield whole[self.rank :: self.world_size].tolist()


class RawItems(Dataset[Any]):
    """A source's items as the user's dataset gives them, for a plain `collate_fn`."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.decodes_files = source.decodes_files

    def __len__(self) -> int:
        """Number of items."""
        return len(self.source)

    def __getitem__(self, position: int) -> Any:
        """The item as it is; `Unreadable` if the dataset cannot read it and such are skipped."""
        try:
            return self.source.item(position)
        except ReadingError as error:
            if self.source.on_error == "raise":
                self.source.fail(position, error)
            return Unreadable(position, self.source.name(position), error.reason)


def build_loader(
    source: ImageSource,
    batches: EpochBatches,
    collate_fn: Collator | Callable[[list[Any]], Any],
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    timeout: float = 0,
    fills: bool = False,
) -> DataLoader[Any]:
    """Builds a loader.

    Args:
        source: The images.
        batches: Their order.
        collate_fn: A `Collator`, of which the worker does `stack` only; or any function from a list
            of the dataset's items to what `_forward` eats.
        num_workers: Processes that read images; 0 reads in this one.
        pin_memory: Whether batches are put where an accelerator reads them faster.
        timeout: Seconds that workers have for a batch; 0 lets them have all time.
        fills: Whether a batch that unreadable images leave too small to train on is filled.

    Returns:
        A loader that keeps its workers from epoch to epoch.
    """
    items: Any = source
    collate: Callable[[Any], Any]
    if isinstance(collate_fn, Collator):
        collate = collate_fn.stack
    else:
        items = RawItems(source)
        collate = collate_fn if source.on_error == "raise" else ReadableItems(collate_fn)
    if fills and source.on_error == "skip":
        items = FilledBatches(items, to_full_size=batches.world_size > 1)
    return DataLoader(
        items,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        timeout=timeout if num_workers > 0 else 0,
        # Seeds the workers, from which a dataset's own transforms draw: those of another epoch draw
        # otherwise. Torch's own stream is left alone.
        generator=step_generator(batches.seed, batches.epoch),
    )
