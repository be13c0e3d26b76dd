"""The first layers of a network that is built by name: those that it was published with, or finer.

Published networks quarter an image of 224 pixels before their first block. Of small images that
leaves little, so for these ResNets begin as for CIFAR, EfficientNets and AlexNet with a stride of
1. Such a network is slower, and is not the published one: weights of the one do not fit the other,
or fit and give other features.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

Stem = Literal["auto", "imagenet", "medium", "small"]
STEMS = ("auto", "imagenet", "medium", "small")
SMALL_IMAGE = 64  # pixels; METHODS.md 1.5, R1: up to this "small"
MEDIUM_IMAGE = 127  # pixels up to which ResNets and AlexNet have "medium"
PUBLISHED = 'stem="imagenet" builds that one'

_is_told: ContextVar[bool] = ContextVar("is_told", default=True)
_log = logging.getLogger("super_selfish")


def check_stem(stem: str) -> None:
    """Refuses what is no stem.

    Args:
        stem: The argument.

    Raises:
        ValueError: If it is none of `STEMS`.
    """
    if stem not in STEMS:
        raise ValueError(f"stem is one of {', '.join(map(repr, STEMS))}, got {stem!r}")


def refuse_stem(stem: str, network: str) -> None:
    """Refuses a choice where there is none; what is as published may be called so.

    Args:
        stem: The argument.
        network: Which has one kind of first layers only.

    Raises:
        ValueError: If it is another stem than the network's.
    """
    check_stem(stem)
    if stem != "auto":
        raise ValueError(
            f"stem={stem!r} is for EfficientNets, torchvision's ResNets and AlexNet that are built "
            'by name, and "imagenet" for timm\'s transformers as well; '
            f"{network} has the first layers that it has: leave stem out"
        )


def resnet_stem(stem: str, image_size: tuple[int, int]) -> str:
    """What "auto" means for a ResNet of torchvision or an AlexNet, or what else was said.

    Args:
        stem: One of `STEMS`.
        image_size: Height and width of the images, pixels.
    """
    check_stem(stem)
    if stem != "auto":
        return stem
    if min(image_size) <= SMALL_IMAGE:
        return "small"
    return "medium" if min(image_size) <= MEDIUM_IMAGE else "imagenet"


def efficientnet_stride(stem: str, image_size: tuple[int, int]) -> int:
    """The stride of the first convolution of an EfficientNet.

    Args:
        stem: One of `STEMS` but "medium", which EfficientNets, without a pooling, have not.
        image_size: Height and width of the images, pixels.

    Raises:
        ValueError: If there is no such stem.
    """
    check_stem(stem)
    if stem == "medium":
        raise ValueError(
            'stem="medium" is for ResNets and AlexNet, which pool after their first convolution: '
            'an EfficientNet takes "imagenet" (stride 2) or "small" (stride 1)'
        )
    is_small = stem == "small" or (stem == "auto" and min(image_size) <= SMALL_IMAGE)
    return 1 if is_small else 2


def tell_choice(name: str, image_size: tuple[int, int], stem: str, beginning: str | None) -> None:
    """Says what `"auto"` has chosen, where that is not the published network.

    Args:
        name: Of the network.
        image_size: Height and width of the images, pixels.
        stem: That was asked for: who asks for one by name knows it.
        beginning: With what the network begins; None where it is as published.
    """
    if stem == "auto" and beginning is not None:
        tell_difference(name, image_size, beginning, PUBLISHED)


@contextlib.contextmanager
def untold() -> Iterator[None]:
    """Within it nothing is said of networks, which are for images of a size that is yet unknown."""
    before = _is_told.set(False)
    try:
        yield
    finally:
        _is_told.reset(before)


def tell_difference(name: str, image_size: tuple[int, int], beginning: str, remedy: str) -> None:
    """Says that a network by this name begins otherwise than the published one, once for a size.

    Args:
        name: Of the network.
        image_size: Height and width of the images, pixels.
        beginning: With what it begins.
        remedy: What gives the published one.
    """
    if _is_told.get():
        say_difference(name, image_size, beginning, remedy)


@functools.cache
def say_difference(name: str, image_size: tuple[int, int], beginning: str, remedy: str) -> None:
    """`tell_difference`, where it is told."""
    height, width = image_size
    _log.warning(
        "%s for images of %dx%d begins with %s, so it is not the published network; %s",
        *(name, height, width, beginning, remedy),
    )
