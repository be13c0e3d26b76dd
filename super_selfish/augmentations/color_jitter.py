"""Colour jitter: four adjustments in random order, and random grayscale, in few linear maps.

Shapes: `B` samples, `C, H, W` image. Images are float in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Shape, put_samples
from super_selfish.augmentations.chunks import samples_per_chunk
from super_selfish.augmentations.color import (
    shift_hue,
    transform_linearly,
)
from super_selfish.augmentations.compiled import compiled, is_wanted
from super_selfish.augmentations.draws import uniform
from super_selfish.augmentations.jitter_maps import (
    HAS_HUE,
    MOST_MAPS,
    JitterMaps,
    JitterParameters,
    compose_jitter,
)
from super_selfish.augmentations.one_pass import jitter_in_one_pass

MOST_PIXELS_IN_A_GAP = 2**15  # the identity of as many costs no more than another call


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue in random order, and random grayscale.

    Factors are drawn from U(max(0, 1 - b), 1 + b), hue shifts from U(-h, h), and every operation
    ends in [0, 1], as in torchvision. Linear ones compose where clamping between them would change
    nothing. Only samples that drew a hue shift pay for it.
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
        maps = compose_jitter(parameters, images.shape[1], grayscale_first=self.grayscale_first)
        coefficients = maps.coefficients.to(images, non_blocking=True)
        hue = maps.hue.to(images, non_blocking=True)
        if images.shape[1] == 3 and is_wanted():
            return _apply_compiled(images, maps, coefficients, hue)
        # Alike samples next to each other: a map is applied to rows of them, in place.
        codes, order = maps.codes.sort()
        kinds, counts = codes.unique_consecutive(return_counts=True)
        ends = counts.cumsum(0).tolist()
        groups = list(zip(kinds.tolist(), [0, *ends[:-1]], ends, strict=True))
        order = order.to(images.device, non_blocking=True)
        each_map, hue = coefficients[order].unbind(1), hue[order]
        size = samples_per_chunk(images)
        gap = MOST_PIXELS_IN_A_GAP // images[0, 0].numel()
        for has_hue in (False, True):
            alike = [group for group in groups if (group[0] >= HAS_HUE) == has_hue]
            if output is images and alike and alike[0][0] == 0:
                alike = alike[1:]  # nothing is done to them
            first, last = (alike[0][1], alike[-1][2]) if alike else (0, 0)
            for start in range(first, last, size):
                rows = slice(start, min(start + size, last))
                chunk = images.index_select(0, order[rows])
                for number, map_ in enumerate(each_map):
                    if number == MOST_MAPS and has_hue:
                        chunk = shift_hue(chunk, hue[rows])
                    for begin, end in _rows_of(number, alike, rows, gap):
                        part = chunk[begin - start : end - start]
                        transform_linearly(part, map_[begin:end], part)
                put_samples(output, order[rows], chunk)
        return output


def _rows_of(
    number: int, groups: list[tuple[int, int, int]], rows: slice, gap: int
) -> Iterator[tuple[int, int]]:
    """Where, within some rows, samples lie side by side that need a map, but for small gaps."""
    begin = end = -1
    for code, first, last in groups:
        if code >> number & 1 and first < rows.stop and last > rows.start:
            if end < 0 or first > end + gap:
                if end >= 0:
                    yield begin, end
                begin = max(first, rows.start)
            end = min(last, rows.stop)
    if end >= 0:
        yield begin, end


def _apply_compiled(images: Tensor, maps: JitterMaps, coefficients: Tensor, hue: Tensor) -> Tensor:
    """The same with the first map, the hue, and the first map after it in one compiled pass."""
    several_before = (maps.codes >> 1) & (2 ** (MOST_MAPS - 1) - 1)
    output = images
    if (
        several_before.any()
    ):  # their first map has to come before the others, and so before the pass
        output = images.clone()
        rows = several_before.nonzero().flatten()
        coefficients = coefficients.clone()
        for number in range(MOST_MAPS):
            _apply_to(output, rows, maps, coefficients, number)
        coefficients[rows.to(images.device), 0] = torch.eye(1, 4).to(images)
    jittered: Tensor = compiled(jitter_in_one_pass)(
        output, coefficients[:, 0], hue, coefficients[:, MOST_MAPS]
    )
    rows = torch.arange(len(images))
    for number in range(MOST_MAPS + 1, 2 * MOST_MAPS):
        _apply_to(jittered, rows, maps, coefficients, number)
    return jittered


def _apply_to(
    images: Tensor, rows: Tensor, maps: JitterMaps, coefficients: Tensor, number: int
) -> None:
    """Applies a map, in place, to those of some rows that need it."""
    rows = rows[(maps.codes[rows] >> number & 1).bool()].to(images.device, non_blocking=True)
    if len(rows):
        part = images.index_select(0, rows)
        images.index_copy_(0, rows, transform_linearly(part, coefficients[rows, number], part))
