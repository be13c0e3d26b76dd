"""Batched augmentation in two steps: draw random parameters, then apply them.

Parameters are few numbers, so they are drawn on the CPU from an explicit generator, one set per
sample; they are applied on whatever device the images lie on. A CPU and a GPU therefore see the
same views, and a call can be replayed and tested.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1] unless a class says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, int, int, int]  # (B, C, H, W)
LARGE_SAMPLE = 2**14  # numbers, from which a processor copies one by one in half the time


class Augmentation(ABC):
    """A random transformation of a batch, every sample with parameters of its own.

    A subclass writes `draw` and `apply`; calling the object does both.
    """

    @abstractmethod
    def draw(self, shape: Shape, generator: torch.Generator) -> Any:
        """Draws the parameters for a batch.

        Args:
            shape: `(B, C, H, W)` of the batch that the parameters are for.
            generator: CPU generator; the only source of randomness.

        Returns:
            Parameters (a `NamedTuple` of CPU tensors whose first dimension is `B`).
        """

    @abstractmethod
    def apply(self, images: Tensor, parameters: Any) -> Tensor:
        """Applies drawn parameters. Deterministic; never changes `images` in place.

        Args:
            images: `[B, C, H, W]`, float in [0, 1].
            parameters: What `draw` returned for this shape.

        Returns:
            `[B, C, H', W']`, float in [0, 1], on the device of `images`: a new tensor, which a
            later step may overwrite, or `images` or a view of them.
        """

    def apply_(self, images: Tensor, parameters: Any) -> Tensor:
        """As `apply`, but may overwrite `images`, which saves a trip to memory.

        Args:
            images: See `apply`; not to be used afterwards.
            parameters: See `apply`.

        Returns:
            See `apply`; where the class works in place, `images`.
        """
        return self.apply(images, parameters)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape that `apply` returns for images of `shape`."""
        return shape

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draws and applies.

        Args:
            images: `[B, C, H, W]`.
            generator: CPU generator.

        Returns:
            The transformed images.
        """
        batch, channels, height, width = images.shape
        return self.apply(images, self.draw((batch, channels, height, width), generator))


class Compose(Augmentation):
    """Augmentations one after the other."""

    def __init__(self, augmentations: Sequence[Augmentation]) -> None:
        """Args: augmentations: In the order in which they are applied."""
        self.augmentations = tuple(augmentations)

    def draw(self, shape: Shape, generator: torch.Generator) -> tuple[Any, ...]:
        """Draws the parameters of every step, in order."""
        parameters = []
        for augmentation in self.augmentations:
            parameters.append(augmentation.draw(shape, generator))
            shape = augmentation.output_shape(shape)
        return tuple(parameters)

    def apply(self, images: Tensor, parameters: tuple[Any, ...]) -> Tensor:
        """Applies every step with its own parameters."""
        given = images
        for augmentation, drawn in zip(self.augmentations, parameters, strict=True):
            apply = augmentation.apply_ if _is_another(images, given) else augmentation.apply
            images = apply(images, drawn)
        return images

    def output_shape(self, shape: Shape) -> Shape:
        """Shape after the last step."""
        for augmentation in self.augmentations:
            shape = augmentation.output_shape(shape)
        return shape


def _is_another(images: Tensor, given: Tensor) -> bool:
    """Whether images may be overwritten: they share no memory with those that were given."""
    if images is given or images.requires_grad or torch.compiler.is_compiling():
        return False
    return images.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()


class Selected(NamedTuple):
    """The samples that drew an augmentation, and their parameters."""

    index: Tensor  # type: ignore[assignment]  # (b,) int64, the selected samples
    parameters: Any  # for b samples


class RandomApply(Augmentation):
    """Applies an augmentation to each sample with probability `p`.

    Only the samples that drew it are touched, so the cost falls with `p`.
    """

    def __init__(self, augmentation: Augmentation, p: float) -> None:
        """Takes an augmentation that keeps the shape.

        Args:
            augmentation: Keeps the shape of the images.
            p: Probability, in [0, 1].

        Raises:
            ValueError: If `p` is no probability.
        """
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p is a probability in [0, 1], got {p}")
        self.augmentation = augmentation
        self.p = p

    def draw(self, shape: Shape, generator: torch.Generator) -> Selected:
        """Draws who is selected, then the parameters of those."""
        index = (torch.rand(shape[0], generator=generator) < self.p).nonzero().flatten()
        return Selected(index, self.augmentation.draw((len(index), *shape[1:]), generator))

    def apply(self, images: Tensor, parameters: Selected) -> Tensor:
        """Transforms the selected samples and leaves the others as they are."""
        if len(parameters.index) == 0:
            return images
        if len(parameters.index) == len(images):
            return self.augmentation.apply(images, parameters.parameters)
        return self.apply_(images.clone(), parameters)

    def apply_(self, images: Tensor, parameters: Selected) -> Tensor:
        """Transforms the selected samples in place."""
        index, drawn = parameters
        if len(index) == 0:
            return images
        if len(index) == len(images):
            return self.augmentation.apply_(images, drawn)
        index = index.to(images.device, non_blocking=True)
        chosen = images.index_select(0, index)
        return put_samples(images, index, self.augmentation.apply_(chosen, drawn))


def put_samples(images: Tensor, index: Tensor, samples: Tensor) -> Tensor:
    """Overwrites some samples of a batch.

    Args:
        images: `[B, C, H, W]`, overwritten.
        index: `(b,)`, without repetition, where the images are.
        samples: `[b, C, H, W]`.

    Returns:
        `images`.
    """
    if images.device.type == "cpu" and images[0].numel() >= LARGE_SAMPLE:
        for place, sample in zip(index.tolist(), samples, strict=True):
            images[place] = sample
        return images
    return images.index_copy_(0, index, samples)


def to_unit_range(images: Tensor) -> Tensor:
    """Float images in [0, 1].

    Args:
        images: Any shape; uint8 and uint16 are divided by their largest value, floats pass.

    Returns:
        The same shape, float.

    Raises:
        TypeError: If the images are neither uint8, uint16 nor float.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255.0)
    if images.dtype == torch.uint16:
        return images.to(torch.float32).div_(65535.0)
    if images.is_floating_point():
        return images
    raise TypeError(f"images must be uint8, uint16 or float, got {images.dtype}")
