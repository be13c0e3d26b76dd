"""One of several augmentations for each sample.

The batch is grouped by what the samples drew, and each augmentation runs once, on its group: the
cost is that of one augmentation, however many there are to choose from.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Selected, Shape, put_samples


class Group(NamedTuple):
    """Samples, the augmentation that they share, and their parameters."""

    augmentation: Augmentation
    index: Tensor  # type: ignore[assignment]  # (b,) int64, CPU
    parameters: Any  # for b samples


def apply_in_groups(images: Tensor, groups: Iterable[Group]) -> Tensor:
    """Applies to each group its augmentation; samples of no group stay as they are.

    Args:
        images: `[B, C, H, W]`, float in [0, 1], overwritten.
        groups: Without a sample that is in two of them; their augmentations keep the shape.

    Returns:
        `images`.
    """
    for augmentation, index, parameters in groups:
        if len(index) > 0:
            index = index.to(images.device, non_blocking=True)
            chosen = images.index_select(0, index)
            put_samples(images, index, augmentation.apply_(chosen, parameters))
    return images


def take_parameters(parameters: Any, index: Tensor) -> Any:
    """Parameters of some samples out of those that were drawn for many.

    Args:
        parameters: What a `draw` returned whose tensors all have the sample as first dimension.
        index: `(b,)`, int64, CPU, repetitions allowed.

    Returns:
        The same structure, for `b` samples.

    Raises:
        TypeError: If there is something else than tensors, tuples of such and None: what
            `RandomApply` and `RandomChoice` draw belongs to one batch as a whole.
    """
    if parameters is None:
        return None
    if isinstance(parameters, Tensor):
        return parameters.index_select(0, index)
    is_named = isinstance(parameters, tuple) and hasattr(parameters, "_fields")
    if is_named and not isinstance(parameters, Selected):
        return type(parameters)(*(take_parameters(value, index) for value in parameters))
    raise TypeError(f"cannot take samples out of parameters of {type(parameters).__name__}")


class RandomChoice(Augmentation):
    """Applies to each sample one augmentation, all with the same probability."""

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        """Takes what there is to choose from.

        Args:
            augmentations: At least one; they keep the shape of the images.

        Raises:
            ValueError: If there is none.
        """
        if len(augmentations) == 0:
            raise ValueError("there must be at least one augmentation to choose from, got none")
        self.augmentations = tuple(augmentations)

    def draw(self, shape: Shape, generator: torch.Generator) -> tuple[Selected, ...]:
        """Draws who gets which augmentation, then its parameters; a group per augmentation."""
        count = len(self.augmentations)
        choices = torch.randint(count, (shape[0],), generator=generator)
        sizes = choices.bincount(minlength=count).tolist()
        groups = []
        for augmentation, index in zip(
            self.augmentations, choices.argsort(stable=True).split(sizes), strict=True
        ):
            drawn = augmentation.draw((len(index), *shape[1:]), generator)
            groups.append(Selected(index, drawn))
        return tuple(groups)

    def apply(self, images: Tensor, parameters: tuple[Selected, ...]) -> Tensor:
        """Applies to every group its augmentation."""
        return self.apply_(images.clone(), parameters)

    def apply_(self, images: Tensor, parameters: tuple[Selected, ...]) -> Tensor:
        """Applies to every group its augmentation, in place."""
        pairs = zip(self.augmentations, parameters, strict=True)
        return apply_in_groups(
            images, (Group(augmentation, *group) for augmentation, group in pairs)
        )
