"""A backbone's vectors and map of the same images, of one pass where it can give both.

`backbone(images)` gives vectors and `forward_features(images)` maps, each of them a whole pass. Of
most networks the vectors follow from the map; which they are is found by asking them once.

Shapes: `B` images, `C, H, W` image, `D` features, `h, w` map.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from super_selfish.models.combined_net import as_map, as_vectors, map_function, pooled_features
from super_selfish.models.dry_run import feature_shape, floating_tensor, without_a_trace
from super_selfish.models.wrappers import unwrapped

# "vectors": it has no maps. "mean": vectors are the mean of the map. "head": they are what timm's
# `forward_head` makes of it. "twice": they need a pass of their own.
Way = Literal["vectors", "mean", "head", "twice"]


def way_to_both(backbone: nn.Module, in_channels: int, image_size: tuple[int, int]) -> Way:
    """How vectors and map of a backbone are had, found by a dry run on two random images.

    Args:
        backbone: `[B, C, H, W]` to `[B, D]` or `[B, D, h, w]`.
        in_channels: `C`.
        image_size: `(H, W)`, pixels.

    Raises:
        ValueError: If it cannot take such images.
        TypeError: If it returns no tensor.
    """
    if feature_shape(backbone, in_channels, image_size).height is None:
        return "vectors"
    tensor = floating_tensor(backbone)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, in_channels, *image_size, generator=generator)
    images = images if tensor is None else images.to(tensor)
    if images.device.type == "meta":  # which has no numbers to compare
        return "twice"
    with without_a_trace(backbone):
        vectors = pooled_features(backbone, images)
        raw = map_function(backbone)(images)
        if _are_alike(vectors, as_map(backbone, raw, images).mean(dim=(2, 3))):
            return "mean"
        head: Any = getattr(unwrapped(backbone), "forward_head", None)
        # Of timm's networks alone: what others call so is theirs.
        is_timm_s = type(unwrapped(backbone)).__module__.startswith("timm.")
        if is_timm_s and _are_alike(vectors, as_vectors(backbone, head(raw))):
            return "head"
    return "twice"


def vectors_and_map(backbone: nn.Module, images: Tensor, way: Way) -> tuple[Tensor, Tensor | None]:
    """Vectors and map of images.

    Args:
        backbone: A network.
        images: `[B, C, H, W]`, as the backbone eats them.
        way: What `way_to_both` found.

    Returns:
        `[B, D]`, and `[B, D', h, w]`; None where the network has no maps.
    """
    if way == "vectors":
        return pooled_features(backbone, images), None
    raw: Any = map_function(backbone)(images)
    features = as_map(backbone, raw, images)
    if way == "mean":
        return features.mean(dim=(2, 3)), features
    if way == "head":
        network: Any = unwrapped(backbone)
        return as_vectors(backbone, network.forward_head(raw)), features
    return pooled_features(backbone, images), features


def _are_alike(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    largest = float(first.abs().max())
    if not math.isfinite(largest):  # of which nothing follows, and which no tolerance is made of
        return False
    return bool(torch.allclose(first, second, rtol=1e-3, atol=1e-4 * largest))
