"""What the algorithms share that remember every image of the dataset."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from super_selfish.data.sources import ImageSource
from super_selfish.losses import InfoNCELoss


def memory_size(source: ImageSource | None, num_images: int | None, kind: type) -> int:
    """How many images a memory has an entry for.

    Args:
        source: The images, or None where there are none yet.
        num_images: What the user asked for, or None.
        kind: The algorithm, for messages.

    Returns:
        `num_images` if it is given, else the images of the source; without one 2, until a
        checkpoint says how many.

    Raises:
        ValueError: If the dataset has another number of images, or a number is below 2.
    """
    found = None if source is None else len(source)
    if num_images is None:
        num_images = 2 if found is None else found
    if found is not None and found != num_images:
        raise ValueError(
            f"the memory has an entry for each image, but num_images is {num_images} and the "
            f"dataset has {found}: leave num_images out; to go on with the network alone, give "
            f"backbone={kind.__name__}().load(name).get_backbone()"
        )
    if num_images < 2:
        raise ValueError(
            f"{kind.__name__} tells an image from others: give at least 2, got {num_images}"
        )
    return num_images


def guessing_loss(loss: object, num_images: int, num_negatives: int) -> float | None:
    """What one entry against its negatives costs a network that only guesses.

    Args:
        loss: Of the supervisor.
        num_images: Entries of the memory.
        num_negatives: How many a step compares with; see `draw_negatives`.

    Returns:
        `log(1 + K)`, or `log N` for the whole memory; None for a loss whose chance is not known.
    """
    return math.log(min(1 + num_negatives, num_images)) if isinstance(loss, InfoNCELoss) else None


def draw_negatives(num_images: int, num_negatives: int, generator: torch.Generator) -> Tensor:
    """Draws entries of a memory, for a whole batch.

    Done by a collator, which knows numbers and holds no memory: it is copied to the workers.

    Args:
        num_images: Entries of the memory.
        num_negatives: How many are wanted, at least 1.
        generator: CPU generator.

    Returns:
        `[K]`, int64: drawn with replacement; or every entry once, if more are wanted than there
        are, which makes the softmax over the memory exact.
    """
    if num_negatives >= num_images:
        return torch.arange(num_images)
    return torch.randint(num_images, (num_negatives,), generator=generator)
