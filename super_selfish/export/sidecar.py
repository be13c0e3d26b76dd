"""What a reader of an exported file must know, as plain values.

Shapes: `C` channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from super_selfish.models.normalize import Normalize


def describe(
    network: nn.Module, num_features: int, image_size: tuple[int, int], in_channels: int
) -> dict[str, Any]:
    """The network and its images.

    Args:
        network: A backbone.
        num_features: `D`.
        image_size: Height and width, pixels.
        in_channels: Channels.

    Returns:
        Plain values by name. "name" is what a backbone that was built by name is called, "stem" how
        it begins: "imagenet" if as published.
    """
    from super_selfish import __version__  # here: the package imports this module

    name, stem = (getattr(network, attribute, None) for attribute in ("name", "stem"))
    return {
        "class": type(network).__name__,
        "name": name if isinstance(name, str) else None,
        "stem": stem if isinstance(stem, str) else None,
        "num_features": num_features,
        "image_size": list(image_size),
        "in_channels": in_channels,
        "versions": {"super-selfish": __version__, "torch": str(torch.__version__)},
    }


def steps_of(preprocess: nn.Module) -> list[nn.Module]:
    """The steps of a preprocessing, in order, without those that do nothing."""
    if isinstance(preprocess, nn.Sequential):
        return [step for part in preprocess for step in steps_of(part)]
    return [] if isinstance(preprocess, nn.Identity) else [preprocess]


def constants(steps: Sequence[nn.Module]) -> dict[str, list[float] | None]:
    """What to subtract from images in [0, 1], and what to divide them by, to do some steps.

    Args:
        steps: Modules, as `steps_of` gives them.

    Returns:
        "mean" and "std", a number for each channel; both `None` if there are no steps, or one of
        them is no normalisation.
    """
    normalizations = [step for step in steps if isinstance(step, Normalize)]
    if not steps or len(normalizations) < len(steps):
        return {"mean": None, "std": None}
    mean, std = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for step in normalizations:
        # ((x - mean) / std - m) / s = (x - (mean + std m)) / (std s)
        mean = mean + std * step.mean.flatten().double()
        std = std * step.std.flatten().double()
    # Seven digits, as many as a float32 has: 0.485 and not 0.485000014
    return {
        "mean": [float(f"{value:.7g}") for value in mean.tolist()],
        "std": [float(f"{value:.7g}") for value in std.tolist()],
    }
