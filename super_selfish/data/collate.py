"""From samples to what an algorithm's `_forward` eats, in two halves.

`stack` runs in the loader's worker and only puts images side by side; `augment` runs on the device
where the batch lies and makes views and targets of it. Calling a collator does both.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import to_unit_range
from super_selfish.data.conversion import stack_images
from super_selfish.data.samples import Batch, Sample, Unreadable
from super_selfish.data.sources import ImageSource

__all__ = ["Batch", "Collator", "LabelCollator", "Labelled", "move", "stack_labels"]


class Labelled(NamedTuple):
    """Images with what the network shall say of them."""

    images: Tensor  # (B, C, H, W) float in [0, 1]
    targets: Tensor  # (B, ...)


class _Given(ImageSource):
    """Items of one batch: too few to judge by, and too often to look at twice."""

    looks_at_numbers = False


class Collator(ABC):
    """Turns samples into what an algorithm's `_forward(data)` eats.

    A subclass writes `augment`. A batch that comes out of it is a `NamedTuple` of tensors.

    Attributes:
        note: What one has to be told to understand the views, a sentence, or nothing.
    """

    note: str = ""

    def __init__(self) -> None:
        self._generator: torch.Generator | None = None

    def stack(self, samples: Batch | Sequence[Any]) -> Batch:
        """Puts samples side by side; runs in the loader's worker.

        Args:
            samples: Samples of an `ImageSource`, or items of any dataset that one can read.

        Returns:
            The batch, without the samples that could not be read.
        """
        if isinstance(samples, Batch):
            return samples
        if not isinstance(samples[0], Sample | Unreadable):
            source = _Given(list(samples))
            samples = [source[position] for position in range(len(source))]
        good = [sample for sample in samples if isinstance(sample, Sample)]
        unreadable = tuple(
            f"{sample.name}: {sample.reason}"
            for sample in samples
            if isinstance(sample, Unreadable)
        )
        if not good:
            return Batch(torch.empty(0), torch.empty(0, dtype=torch.int64), None, unreadable)
        labels, no_labels = stack_labels([sample.label for sample in good])
        return Batch(
            stack_images([sample.image for sample in good]),
            torch.tensor([sample.index for sample in good]),
            labels,
            unreadable,
            no_labels,
        )

    @abstractmethod
    def augment(self, batch: Batch, generator: torch.Generator) -> Any:
        """Makes views and targets, on the device of the batch.

        Args:
            batch: What `stack` returned, on any device.
            generator: CPU generator; the only source of randomness.

        Returns:
            A `NamedTuple` of tensors, for `_forward`.
        """

    def __call__(self, samples: Batch | Sequence[Any]) -> Any:
        """Stacks and augments, so that a collator is also a plain `collate_fn`.

        The draws come from a generator that takes its seed from the process (in a loader's worker:
        from the worker's seed) at the first call.
        """
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(torch.initial_seed())
        return self.augment(self.stack(samples), self._generator)


class LabelCollator(Collator):
    """Images with the dataset's own labels, not augmented."""

    def augment(self, batch: Batch, generator: torch.Generator) -> Labelled:
        """Returns images and labels.

        Raises:
            ValueError: If the dataset has no labels.
        """
        if batch.labels is None:
            raise ValueError(
                batch.no_labels
                or "the dataset gives no labels: its items should be (image, label), "
                'or a dict with "image" and "label"'
            )
        return Labelled(to_unit_range(batch.images), batch.labels)


def stack_labels(labels: list[Tensor | None]) -> tuple[Tensor | None, str]:
    """Puts the labels of a batch side by side, if they can lie so.

    Most algorithms use no labels, so boxes, masks of several sizes, or labels of some images only,
    are no reason to stop.

    Args:
        labels: One of each image; at least one image.

    Returns:
        `[B, ...]`, or `None` and, where there are labels, what is wrong with them.
    """
    known = [label for label in labels if label is not None]
    if len(known) < len(labels):
        missing = len(labels) - len(known)
        why = f"{missing} of the {len(labels)} images of a batch have no label" if known else ""
        return None, why
    shapes = {tuple(label.shape) for label in known}
    if len(shapes) > 1:
        few = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
        return None, f"labels of a batch must be of one shape, got {few}: make them alike"
    return torch.stack(known), ""


def move(data: Any, device: torch.device) -> Any:
    """Moves every tensor of a batch to a device; what is no tensor stays."""
    if isinstance(data, Tensor):
        return data.to(device, non_blocking=True)
    if isinstance(data, Batch):
        return data.to(device)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(move(value, device) for value in data))
    if isinstance(data, list | tuple):
        return type(data)(move(value, device) for value in data)
    if isinstance(data, dict):
        return {key: move(value, device) for key, value in data.items()}
    return data
