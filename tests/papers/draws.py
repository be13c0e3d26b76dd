"""What recipes draw, counted and measured."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from super_selfish.augmentations.base import Augmentation, Compose, RandomApply, Shape


class Step(NamedTuple):
    """A step of a recipe, and what it drew."""

    augmentation: Augmentation
    parameters: Any
    number: int  # samples that it drew for


def drawn(recipe: Augmentation, shape: Shape, generator: torch.Generator) -> list[Step]:
    """The steps of a recipe with what they draw for a batch, without those that contain others."""
    return list(_steps(recipe, recipe.draw(shape, generator), shape[0]))


def _steps(augmentation: Augmentation, parameters: Any, count: int) -> Iterator[Step]:
    if isinstance(augmentation, Compose):
        for step, own in zip(augmentation.augmentations, parameters, strict=True):
            yield from _steps(step, own, count)
    elif isinstance(augmentation, RandomApply):
        yield from _steps(augmentation.augmentation, parameters.parameters, len(parameters.index))
    else:
        yield Step(augmentation, parameters, count)


def is_share(hits: int, number: int, p: float) -> bool:
    """Whether so many hits are what a probability gives: four standard deviations, all, or none."""
    return abs(hits - number * p) <= 4 * math.sqrt(number * p * (1 - p))


def is_uniform(values: Tensor, low: float, high: float) -> bool:
    """Whether values are drawn evenly from a range: inside, and by Kolmogorov and Smirnov."""
    values = values.double().flatten().sort().values
    if float(values[0]) < low - 1e-6 or float(values[-1]) > high + 1e-6:
        return False
    number = len(values)
    expected = (values - low) / (high - low)
    steps = torch.arange(number, dtype=torch.float64) / number
    distance = torch.maximum((expected - steps).abs(), (expected - steps - 1 / number).abs()).max()
    return bool(distance < 1.95 / math.sqrt(number))  # one in a thousand


def is_alike(values: Tensor, others: Tensor) -> bool:
    """Whether two samples come from one distribution, by Kolmogorov and Smirnov."""
    values, others = values.double().sort().values, others.double().sort().values
    both = torch.cat([values, others]).sort().values
    first = torch.searchsorted(values, both, right=True) / len(values)
    second = torch.searchsorted(others, both, right=True) / len(others)
    bound = 1.95 * math.sqrt(1 / len(values) + 1 / len(others))
    return bool((first - second).abs().max() < bound)


def inception_crops(
    number: int, side: int, area: Sequence[float], ratio: Sequence[float], seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Areas, as fractions, and width / height of crops as arXiv 1409.4842 has them: one by one."""
    chance = random.Random(seed)
    areas, ratios = [], []
    for _ in range(number):
        height = width = side
        for _ in range(10):
            pixels = side * side * chance.uniform(*area)
            aspect = math.exp(chance.uniform(math.log(ratio[0]), math.log(ratio[1])))
            w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
            if 0 < w <= side and 0 < h <= side:
                height, width = h, w
                break
        areas.append(height * width / side**2)
        ratios.append(width / height)
    return torch.tensor(areas), torch.tensor(ratios)
