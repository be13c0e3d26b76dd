"""Colour jitter: four adjustments in random order, and random grayscale, in two linear maps.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape, put_samples
from super_selfish.augmentations.chunks import samples_per_chunk
from super_selfish.augmentations.color import (
    ColorMatrix,
    apply_color_matrix,
    shift_hue,
    transform_linearly,
)
from super_selfish.augmentations.compiled import compiled, is_wanted
from super_selfish.augmentations.draws import uniform
from super_selfish.augmentations.one_pass import jitter_in_one_pass

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the operations in `JitterParameters.order`


class JitterParameters(NamedTuple):
    """What a colour jitter drew. A sample that is not jittered has factors 1 and shift 0."""

    brightness: Tensor  # (B,) factors
    contrast: Tensor  # (B,) factors
    saturation: Tensor  # (B,) factors
    hue: Tensor  # (B,) shifts in turns
    order: Tensor  # (B, 4) int64, the operations from first to last
    grayscale: Tensor  # (B,) bool


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue in random order, and random grayscale.

    Factors are drawn from U(max(0, 1 - b), 1 + b), hue shifts from U(-h, h), as in torchvision.
    What precedes the hue and what follows it are one `ColorMatrix` each. Only samples that drew a
    hue shift pay for it.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,  # positional, in torchvision's order
        *,
        p: float = 1.0,
        p_grayscale: float = 0.0,
        grayscale_first: bool = False,
    ) -> None:
        """Takes strengths as the papers state them.

        Args:
            brightness: At least 0.
            contrast: At least 0.
            saturation: At least 0.
            hue: In turns, in [0, 0.5].
            p: Probability that a sample is jittered.
            p_grayscale: Probability that a sample becomes gray, jittered or not.
            grayscale_first: Gray before the jitter (InstDisc, MoCo v1) instead of after it
                (MoCo v2, SimCLR, BYOL).

        Raises:
            ValueError: If a strength or a probability is out of range.
        """
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, strength in strengths.items():
            if strength < 0.0:
                raise ValueError(f"{name} must be >= 0, got {strength}")
        if not 0.0 <= hue <= 0.5:
            raise ValueError(f"hue is in turns and must be in [0, 0.5], got {hue}")
        for name, probability in {"p": p, "p_grayscale": p_grayscale}.items():
            if not 0.0 <= probability <= 1.0:
                raise ValueError(f"{name} is a probability in [0, 1], got {probability}")
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.p = p
        self.p_grayscale = p_grayscale
        self.grayscale_first = grayscale_first

    def draw(self, shape: Shape, generator: torch.Generator) -> JitterParameters:
        """Draws who is jittered, the factors, the order and who is gray."""
        batch = shape[0]
        jittered = torch.rand(batch, generator=generator) < self.p
        factors = []
        for strength in (self.brightness, self.contrast, self.saturation):
            low, high = max(0.0, 1.0 - strength), 1.0 + strength
            factor = uniform(batch, low, high, generator)
            factors.append(torch.where(jittered, factor, 1.0))
        hue = torch.where(jittered, uniform(batch, -self.hue, self.hue, generator), 0.0)
        order = torch.rand(batch, 4, generator=generator).argsort(dim=1)
        grayscale = torch.rand(batch, generator=generator) < self.p_grayscale
        return JitterParameters(factors[0], factors[1], factors[2], hue, order, grayscale)

    def apply(self, images: Tensor, parameters: JitterParameters) -> Tensor:
        """Applies the drawn operations in the drawn order."""
        return self._apply_into(torch.empty_like(images), images, parameters)

    def apply_(self, images: Tensor, parameters: JitterParameters) -> Tensor:
        """Applies the drawn operations in place."""
        return self._apply_into(images, images, parameters)

    def _apply_into(self, output: Tensor, images: Tensor, parameters: JitterParameters) -> Tensor:
        """Writes into `output`, which may be `images`, unless a new tensor comes at no cost."""
        channels = images.shape[1]
        before, after = self._compose(parameters, channels)  # (B, 4) each
        if channels != 3:
            return apply_color_matrix(images, ColorMatrix(before.T, channels))
        before, after = before.to(images, non_blocking=True), after.to(images, non_blocking=True)
        hue = parameters.hue.to(images, non_blocking=True)
        if is_wanted():
            jittered: Tensor = compiled(jitter_in_one_pass)(images, before, hue, after)
            return jittered

        shifted = parameters.hue != 0.0
        turned, plain = shifted.nonzero().flatten(), (~shifted).nonzero().flatten()
        size = samples_per_chunk(images)
        for index in plain.to(images.device, non_blocking=True).split(size):
            chunk = images.index_select(0, index)
            put_samples(output, index, transform_linearly(chunk, before[index], chunk))
        for index in turned.to(images.device, non_blocking=True).split(size):
            chunk = images.index_select(0, index)
            chunk = shift_hue(transform_linearly(chunk, before[index], chunk), hue[index])
            put_samples(output, index, transform_linearly(chunk, after[index], chunk))
        return output

    def _compose(self, parameters: JitterParameters, channels: int) -> tuple[Tensor, Tensor]:
        """The linear maps before and after the hue, `(B, 4)` each; all before if there is none."""
        batch = len(parameters.hue)
        ones = torch.ones(batch)
        saturation = parameters.saturation if channels == 3 else ones
        factors = torch.stack((parameters.brightness, parameters.contrast, saturation, ones), 1)
        factors = factors.gather(1, parameters.order)  # (B, 4), in order of application
        shifted = (parameters.hue != 0.0) & (channels == 3)
        follows = (parameters.order == HUE).cumsum(1).bool() & shifted[:, None]  # (B, 4)
        # Both maps at once: 2B samples, and a step that belongs to the other map has factor 1.
        factors = torch.cat((factors.where(~follows, 1.0), factors.where(follows, 1.0)))
        to_gray = (parameters.order == SATURATION).float().repeat(2, 1)
        to_mean = (parameters.order == CONTRAST).float().repeat(2, 1)

        none = torch.zeros(batch, dtype=torch.bool)
        matrix = ColorMatrix.identity(2 * batch, channels)
        if self.grayscale_first:
            matrix = matrix.grayscale(torch.cat((parameters.grayscale, none)))
        for step in range(4):
            matrix = matrix.blend(factors[:, step], to_gray[:, step], to_mean[:, step])
        if not self.grayscale_first:
            last = torch.cat((parameters.grayscale & ~shifted, parameters.grayscale & shifted))
            matrix = matrix.grayscale(last)
        before, after = matrix.coefficients.T.split(batch)
        return before, after
