"""Vision transformers of timm at any size: how large their patches are, and which sizes they take.

A transformer was published for one size of images and one of patches. Patches of 16 pixels leave
four tokens of an image of 32; so for small images they are smaller, and tokens about as many as
those of the published network (METHODS.md 1.5, R7). Positions follow the size of the images, in
small crops too.
"""

from __future__ import annotations

import math

from torch import nn

from super_selfish.models.fresh import TIMM_ARGUMENTS
from super_selfish.models.wrappers import unwrapped

Size = tuple[int, int]

_FEWEST = 28  # pixels of a side whose patches are of 4: 7 tokens a side
_SMALLEST = 4  # pixels of a patch, of images of 28 to 55
_FURTHEST = 1.5  # times the wanted side that a patch may be, or a part of it, to fit the images


def patch_side(image_size: Size, published: int, name: str) -> int:
    """The side of the patches for images of a size.

    Args:
        image_size: Height and width of the images, pixels; patches divide both.
        published: Side of the patches of the published network, pixels; the largest.
        name: Of the network, for messages.

    Returns:
        4 for sides from 28 pixels on, twice that from 56, and so on; where that does not divide
        height and width, what divides them and is nearest.

    Raises:
        ValueError: If nothing near divides both.
    """
    doublings = max(0, math.floor(math.log2(max(min(image_size), 1) / _FEWEST)))
    wanted = min(published, _SMALLEST * 2**doublings)
    common = math.gcd(*image_size)
    sides = [side for side in range(1, common + 1) if common % side == 0]
    found = min(sides, key=lambda side: (abs(math.log(side / wanted)), side))
    # Images below 28 pixels have patches of down to one pixel.
    furthest_down = _SMALLEST if min(image_size) < _FEWEST else _FURTHEST
    if not 1 / furthest_down <= found / wanted <= _FURTHEST:
        height, width = image_size
        near = tuple(wanted * max(1, round(side / wanted)) for side in image_size)
        raise ValueError(
            f"{name} cuts images into square patches of about {wanted} pixels, and none such "
            f"divide {height}x{width}: give image_size={near}"
        )
    return found


def resized(published: nn.Module, image_size: Size, stem: str, name: str) -> dict[str, int | bool]:
    """What `timm.create_model` is to be told to build a transformer for images of a size.

    Args:
        published: The network as published, on any device.
        image_size: Height and width of the images, pixels.
        stem: `"auto"` for patches that suit the images, `"imagenet"` for the published ones.
        name: Of the network, for messages.

    Returns:
        Keywords; none for a network whose patches and positions have one size.

    Raises:
        ValueError: As `patch_side`.
    """
    patch = patch_of(published)
    if patch is None or not hasattr(published, "dynamic_img_size"):
        return {}
    patch = patch if stem == "imagenet" else patch_side(image_size, patch, name)
    # Of images that patches do not divide the network itself cuts the border away.
    is_divided = all(side % patch == 0 for side in image_size)
    return {"patch_size": patch, "dynamic_img_size": is_divided}


def average_tokens(network: nn.Module) -> None:
    """Has a transformer of timm that was built by name give the mean of its patches' tokens.

    Instead of its class token; both are normalised by the same layer before.

    Args:
        network: From `build_backbone`; one that gives something else stays as it is.
    """
    arguments = vars(network).get(TIMM_ARGUMENTS)
    if arguments is not None and getattr(network, "global_pool", None) == "token":
        network.global_pool = "avg"  # type: ignore[assignment]
        # By which it is drawn anew: without a norm behind the mean in place of the one before.
        arguments.update(global_pool="avg", fc_norm=False)


def patch_of(network: nn.Module) -> int | None:
    """The side of the patches of a transformer, pixels; None for other networks.

    Also for those whose patches are of a convolutional network's maps.
    """
    embedding = getattr(unwrapped(network), "patch_embed", None)
    if hasattr(embedding, "backbone"):
        return None
    patch = getattr(embedding, "patch_size", None)
    if isinstance(patch, tuple):
        return int(patch[0])
    return patch if isinstance(patch, int) else None


def own_size(network: nn.Module) -> Size | None:
    """The size of images that a transformer of timm was built for; None for other networks."""
    embedding = getattr(unwrapped(network), "patch_embed", None)
    size = getattr(embedding, "img_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) else None


def in_whole_patches(network: nn.Module, size: Size) -> Size:
    """The size, or the next larger one that the patches of a transformer divide.

    Args:
        network: Any; others than transformers take each size.
        size: Height and width, pixels.
    """
    patch = patch_of(network) or 1
    return -(-size[0] // patch) * patch, -(-size[1] // patch) * patch
