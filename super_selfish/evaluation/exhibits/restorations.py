"""Exhibits of the algorithms that paint something: erased pixels, holes, colours, whole images.

Shapes: `B` images, `C, H, W` image, `h, w` grid of predictions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from super_selfish.augmentations.lab import lab_to_rgb, rgb_to_lab
from super_selfish.evaluation.exhibits.pictures import Group, picture
from super_selfish.evaluation.views import seen_batch
from super_selfish.models.color_split import as_split_predictions
from super_selfish.supervisors import (
    BiGanSupervisor,
    ContextNetSupervisor,
    DenoiseNetSupervisor,
    SplitBrainNetSupervisor,
)
from super_selfish.supervisors.lab_bins import LabBins

_SHOWN_LIGHTNESS = 65.0  # L* at which colours are shown that have none


def denoised(supervisor: DenoiseNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Images with erased pixels, as restored, as they were."""
    data = seen_batch(supervisor, index, seed)
    restored = supervisor.model(data.noised)
    erased = f"{supervisor.p:.0%}\nerased"
    return _side_by_side((data.noised, erased), (restored, "restored"), (data.images, "clean"))


def painted(supervisor: ContextNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Images with holes, with the holes painted, as they were."""
    data = seen_batch(supervisor, index, seed)
    filled = torch.where(data.holes, supervisor.model(data.holed), data.images)
    return _side_by_side(
        (data.holed, "with holes"), (filled, "holes\npainted"), (data.images, "clean")
    )


def generated(supervisor: BiGanSupervisor, index: list[int], seed: int) -> list[Group]:
    """Images, what the generator makes of their latents, and what it makes of drawn ones."""
    data = seen_batch(supervisor, index, seed)
    decoded = supervisor.generator(supervisor.model(data.images))
    imagined = supervisor.generator(data.latents)
    return _side_by_side(
        (data.images, "image x"), (decoded, "G(E(x))"), (imagined, "of random\nnumbers")
    )


def halves(supervisor: SplitBrainNetSupervisor, index: list[int], seed: int) -> list[Group]:
    """Lightness and the colours that it tells, colours and the lightness that they tell."""
    data = seen_batch(supervisor, index[:2], seed)
    size = data.images.shape[-2:]
    logits = as_split_predictions(supervisor.model(data.images))
    color, lightness = _expected(logits.from_lightness, logits.from_color, supervisor.bins)
    said_color, said_lightness = (
        F.interpolate(values, size=size, mode="bilinear") for values in (color, lightness)
    )
    lab = rgb_to_lab(data.images)  # (B, 3, H, W)
    seen_lightness, seen_color = lab[:, :1], lab[:, 1:]
    flat = torch.full_like(seen_lightness, _SHOWN_LIGHTNESS)
    return _side_by_side(
        (as_gray(seen_lightness), "half sees\nlightness"),
        (_as_rgb(flat, said_color), "and says\ncolours"),
        (_as_rgb(seen_lightness, said_color), "both\ntogether"),
        (_as_rgb(flat, seen_color), "half sees\ncolours"),
        (as_gray(said_lightness), "and says\nlightness"),
        (data.images, "image"),
    )


def as_gray(lightness: Tensor) -> Tensor:
    """Lightness `[B, 1, H, W]` in units of L* as gray RGB `[B, 3, H, W]`."""
    return _as_rgb(lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1))


def colors_alone(images: Tensor) -> Tensor:
    """RGB images `[B, 3, H, W]` with the same lightness everywhere."""
    color = rgb_to_lab(images)[:, 1:]
    return _as_rgb(torch.full_like(color[:, :1], _SHOWN_LIGHTNESS), color)


def lightness_alone(images: Tensor) -> Tensor:
    """RGB images `[B, 3, H, W]` in gray."""
    return as_gray(rgb_to_lab(images)[:, :1])


def _as_rgb(lightness: Tensor, color: Tensor) -> Tensor:
    return lab_to_rgb(torch.cat([lightness, color], dim=1))


def _expected(colors: Tensor, lightnesses: Tensor, bins: LabBins) -> tuple[Tensor, Tensor]:
    """Means of what the bins stand for, under their probabilities.

    Args:
        colors: `[B, bins, h, w]`, logits.
        lightnesses: `[B, bins, h, w]`, logits.
        bins: The grid.

    Returns:
        a* and b* `[B, 2, h, w]`, and L* `[B, 1, h, w]`.
    """
    l_size, a_size, b_size = bins.sizes
    device = colors.device
    l_values = (torch.arange(l_size, device=device) + 0.5) * bins.l_step - bins.l_offset
    a_values = (torch.arange(a_size, device=device) + 0.5) * bins.ab_step - bins.a_offset
    b_values = (torch.arange(b_size, device=device) + 0.5) * bins.ab_step - bins.b_offset
    chances = colors.float().softmax(dim=1).unflatten(1, (a_size, b_size))
    a = torch.einsum("bijhw,i->bhw", chances, a_values)
    b = torch.einsum("bijhw,j->bhw", chances, b_values)
    lightness = torch.einsum("blhw,l->bhw", lightnesses.float().softmax(dim=1), l_values)
    return torch.stack([a, b], dim=1), lightness[:, None]


def _side_by_side(*columns: tuple[Tensor, str]) -> list[Group]:
    """A group for each image: of every column `[B, C, H, W]` its picture, with the caption."""
    count = len(columns[0][0])
    return [[picture(images[i], caption) for images, caption in columns] for i in range(count)]
