"""What to evaluate: a network of one's own, or the backbone of a supervisor with all it wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from super_selfish.models.number_format import require_float32

Size = int | tuple[int, int]


class Network(NamedTuple):
    """A backbone, and in which form it takes its images; None leaves that to the images."""

    module: nn.Module
    preprocess: nn.Module | None
    image_size: Size | None
    in_channels: int | None
    reading: Mapping[str, Any] | None = None  # further keywords of `as_source`

    @property
    def takes_images_as_they_are(self) -> bool:
        """Whether nothing is done to the images before."""
        return self.preprocess is None or isinstance(self.preprocess, nn.Identity)


def open_network(
    backbone: Any,
    preprocess: nn.Module | None = None,
    image_size: Size | None = None,
    in_channels: int | None = None,
    *,
    name: str = "backbone",
) -> Network:
    """A module as it is; of anything with `get_backbone()` that, and its form of images.

    Args:
        backbone: An `nn.Module` or a supervisor.
        preprocess: Given here, it counts instead of the supervisor's.
        image_size: As `preprocess`.
        in_channels: As `preprocess`.
        name: What to call it in errors.

    Raises:
        TypeError: If it is neither.
        ValueError: If it keeps other weights than float32.
    """
    reading: Mapping[str, Any] | None = None
    if callable(getattr(backbone, "get_backbone", None)):
        if preprocess is None:
            preprocess = getattr(backbone, "preprocess", None)
        if image_size is None:
            image_size = getattr(backbone, "image_size", None)
        if in_channels is None:
            in_channels = getattr(backbone, "in_channels", None)
        reading = getattr(backbone, "reading", None)
        backbone = backbone.get_backbone()
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"{name} must be an nn.Module or have get_backbone(), got {type(backbone).__name__}"
        )
    require_float32(backbone, name)
    return Network(backbone, preprocess, image_size, in_channels, reading)
