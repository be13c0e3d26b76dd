"""Images of half the size, each made by another kernel.

Shapes: `B` samples, `C, H, W` image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape
from super_selfish.augmentations.resampling import resize

LOBES = 3  # of the sinc that Lanczos' kernel keeps, to each side


def lanczos_half(images: Tensor) -> Tensor:
    """Halves by Lanczos' kernel, `sinc(x) sinc(x / 3)`, widened to every second pixel.

    As Pillow has it: of pixels beyond the edge the others take the weight.

    Args:
        images: `[B, C, H, W]` of even sides, float in [0, 1].

    Returns:
        `[B, C, H / 2, W / 2]`, clamped to [0, 1].
    """
    rows, columns = (_lanczos_matrix(side).to(images) for side in images.shape[-2:])
    return (rows @ images @ columns.T).clamp(0.0, 1.0)


def _lanczos_matrix(side: int) -> Tensor:
    """`[side / 2, side]`, rows that add up to 1."""
    middles = 2 * torch.arange(side // 2, dtype=torch.float64)[:, None] + 0.5
    distance = (torch.arange(side) - middles) / 2  # in pixels of the small image
    weights = torch.sinc(distance) * torch.sinc(distance / LOBES) * (distance.abs() < LOBES)
    return weights / weights.sum(dim=1, keepdim=True)


# From [B, C, H, W] of even sides to [B, C, H / 2, W / 2].
KERNELS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "nearest": lambda images: images[..., ::2, ::2],
    "area": lambda images: F.avg_pool2d(images, 2),
    "bilinear": lambda images: resize(images, _half(images)),
    "bicubic": lambda images: resize(images, _half(images), "bicubic"),
    "lanczos": lanczos_half,
}


def _half(images: Tensor) -> tuple[int, int]:
    return images.shape[-2] // 2, images.shape[-1] // 2


class RandomHalving(Augmentation):
    """Halves both sides of each sample by a kernel that is drawn.

    A kernel leaves a trace in the pixels, by which a network could tell a small image from a part
    of a large one; one that changes leaves none to rely on. An odd side loses its last line.
    """

    def __init__(self, kernels: Sequence[str] = tuple(KERNELS)) -> None:
        """Takes the kernels.

        Args:
            kernels: Some of `"nearest"` (every second pixel), `"area"` (means of four),
                `"bilinear"`, `"bicubic"` and `"lanczos"` (all widened, as for any image that
                shrinks).

        Raises:
            ValueError: If one is unknown, or there is none.
        """
        if isinstance(kernels, str) or not kernels or not set(kernels) <= set(KERNELS):
            raise ValueError(f"kernels are some of {', '.join(KERNELS)}, got {kernels!r}")
        self.kernels = tuple(kernels)

    def draw(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Draws which kernel, `[B]` int64."""
        return torch.randint(len(self.kernels), (shape[0],), generator=generator)

    def apply(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Halves."""
        height, width = _half(images)
        images = images[..., : 2 * height, : 2 * width]
        halved = images.new_empty((*images.shape[:2], height, width))
        for number, kernel in enumerate(self.kernels):
            chosen = (parameters == number).nonzero().flatten()
            if len(chosen) > 0:
                chosen = chosen.to(images.device, non_blocking=True)
                halved[chosen] = KERNELS[kernel](images[chosen])
        return halved

    def output_shape(self, shape: Shape) -> Shape:
        """Half of both sides."""
        return (*shape[:2], shape[2] // 2, shape[3] // 2)
