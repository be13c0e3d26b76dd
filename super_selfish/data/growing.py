"""Images that join one by one, for algorithms that have something to learn of each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.data.loaders import EpochBatches
from super_selfish.training.randomness import step_generator


class Growth(NamedTuple):
    """How soon images join."""

    views: int  # of an image, on average over those that have joined, before another one joins
    least: int  # images from the start
    members: Tensor  # (N,) int64, positions in the order in which they join

    def joined(self, seen: int) -> int:
        """How many have joined once so many have been seen."""
        return min(len(self.members), max(self.least, seen // self.views))

    def __str__(self) -> str:
        """In words, that follow "images="."""
        return f"{self.least:,} at first, one more every {self.views} views"


class GrowingBatches(EpochBatches):
    """Batches of the images that have joined; steps and epochs are as long as of all images.

    How many have joined follows from how many images came before, which epoch and step tell: a run
    may be of any length, and goes on as if it had never stopped. A place in a batch whose image has
    not joined is given to one that has; once all have, the order is that of `EpochBatches`.
    """

    def __init__(self, growth: Growth, num_images: int, batch_size: int, **options: Any) -> None:
        """Starts at the beginning of epoch 0.

        Args:
            growth: How soon images join.
            num_images: Size of the dataset.
            batch_size: Images a batch and process.
            **options: As for `EpochBatches`.
        """
        super().__init__(num_images, batch_size, **options)
        self.growth = growth

    def joined(self, epoch: int, step: int) -> int:
        """How many images have joined before a step."""
        return self.growth.joined(epoch * self.num_images + step * self.images_per_step)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the batches of `epoch`, from `first_step` on."""
        members = self.growth.members
        places = members.argsort()  # in the order of joining, by position
        epoch, first_step = self.epoch, self.first_step
        for step, batch in enumerate(super().__iter__(), start=first_step):
            joined = self.joined(epoch, step)
            if joined == len(members):
                yield batch
            else:
                yield members[places[torch.tensor(batch)] % joined].tolist()


def drawn_order(number: int) -> Tensor:
    """Positions in an order that depends on their number alone, `[N]`, int64."""
    return torch.randperm(number, generator=step_generator(number))
