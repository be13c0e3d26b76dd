"""Batches on their way from the loader to the networks."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from super_selfish.augmentations.compiled import compiled_augmentation
from super_selfish.data.collate import Collator, move
from super_selfish.data.filling import ReadableItems
from super_selfish.data.left_out import LeftOut
from super_selfish.data.loaders import EpochBatches
from super_selfish.data.workers import batches_of
from super_selfish.training.distributed import is_distributed
from super_selfish.training.randomness import derive_seed, seed_torch, step_generator


class Feed:
    """Moves each batch to the device once, has it augmented there, and measures the wait.

    Before every step torch's own stream, from which dropout draws, is set to a seed that depends on
    (seed, epoch, step) alone, as that of the augmentation does.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        collate_fn: Collator | Callable[[list[Any]], Any],
        device: torch.device,
        seed: int,
        rank: int = 0,
    ) -> None:
        """Takes the parts of a run.

        Args:
            loader: Gives stacked batches for a `Collator`, else ready ones.
            collate_fn: The collator that the loader was built with.
            device: Where the networks are.
            seed: Seed of the run.
            rank: Number of this process.
        """
        self.loader = loader
        self.collate_fn = collate_fn
        self.device = device
        self.seed = seed
        self.rank = rank
        self.compiles = False  # whether the augmentation is compiled
        self.images = 0  # of the present step
        self.waited = 0.0  # seconds that the present step waited for its data
        self.read = 0.0  # seconds of these until the loader had it
        self.unreadable: tuple[str, ...] = ()  # of the present step
        collate = loader.collate_fn
        self.left_out = collate.left_out if isinstance(collate, ReadableItems) else LeftOut()
        self._lapped = 0.0
        self._has_begun = False

    def epoch(self, epoch: int, first_step: int) -> Iterator[Any]:
        """Yields what `_forward` eats for every step of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            first_step: Step at which to begin.

        Raises:
            ValueError: If neither an image of a batch nor another one can be read.
            WorkerError: If a process that reads images was killed, or hangs.
        """
        batches = order_of(self.loader)
        if isinstance(batches, EpochBatches):
            batches.start_at(epoch, first_step)
        if epoch > 0 and not self._has_begun:
            # Transforms of a dataset that is read in this process draw from torch's stream: where
            # a run goes on, not from where the caller's stands, which may be where it stood before.
            seed_torch(derive_seed(self.seed, epoch, first_step, self.rank, 2), self.device)
        self._has_begun = True
        started = self._lapped = time.perf_counter()
        given = batches_of(self.loader, partial(self._named, epoch, first_step))
        for step, batch in enumerate(given, start=first_step):
            self.read = time.perf_counter() - started
            seed_torch(derive_seed(self.seed, epoch, step, self.rank, 0), self.device)
            data = self._prepare(batch, step_generator(self.seed, epoch, step, self.rank, 1))
            self.waited = time.perf_counter() - started
            yield data
            started = time.perf_counter()

    def indices(self, epoch: int, step: int) -> list[int]:
        """Images of a batch, of all processes, if their order is known before they are read.

        Args:
            epoch: Number of the epoch, from 0.
            step: Number of the step in it, from 0.
        """
        batches = order_of(self.loader)
        if not isinstance(batches, EpochBatches):
            return []
        ranks = range(batches.world_size)
        return [index for rank in ranks for index in _batch_of(batches.of(rank), epoch, step)]

    def _named(self, epoch: int, first_step: int, number: int) -> str:
        """The images of a batch, for a message."""
        batches, indices = order_of(self.loader), []
        if isinstance(batches, EpochBatches):  # which may be amid an epoch
            indices = _batch_of(copy.copy(batches), epoch, first_step + number)
        few = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
        return f"the items {few} of the dataset" if few else f"batch {first_step + number + 1}"

    def lap(self) -> float:
        """Seconds since the last lap, or since the epoch began."""
        former, self._lapped = self._lapped, time.perf_counter()
        return self._lapped - former

    def _prepare(self, batch: Any, generator: torch.Generator) -> Any:
        if not isinstance(self.collate_fn, Collator):
            self.unreadable = ()
            self.images = count_images(batch)
            return move(batch, self.device)
        self.unreadable = batch.unreadable
        self.images = len(batch.index)
        if not is_distributed():  # else when all processes have told of theirs
            self.left_out.meet(self.unreadable)
        if not self.images:
            few = ", ".join(self.unreadable[:3])
            raise ValueError(f"no image of a batch, nor any to take its place, can be read: {few}")
        with compiled_augmentation(self.compiles):
            return self.collate_fn.augment(move(batch, self.device), generator)


def order_of(loader: DataLoader[Any]) -> Any:
    """The order of a loader's batches; a stream has one beside its sampler."""
    return loader.order if hasattr(loader, "order") else loader.batch_sampler


def _batch_of(batches: EpochBatches, epoch: int, step: int) -> list[int]:
    batches.start_at(epoch, step)
    return next(iter(batches), [])


def count_images(data: Any) -> int:
    """Length of the first tensor in a batch of any form."""
    if isinstance(data, torch.Tensor):
        return len(data)
    values = data.values() if isinstance(data, dict) else data
    return count_images(next(iter(values)))
