"""Two networks for one image: one sees its lightness, the other its colour.

Everything here eats RGB; the conversion to L*a*b* happens inside. It is a function that whoever
builds the network passes in, so a checkpoint holds nothing of it: it is code, like the networks'
`forward`.

Shapes: `B` images, `C` channels of L*a*b* (1 or 2), `H, W` image, `D` features, `h, w` map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from super_selfish.models.combined_net import feature_map, pooled_features

CHANNELS = {"lightness": slice(0, 1), "color": slice(1, 3)}


class LabChannels(nn.Module):
    """The lightness of an image (L*), or its colour (a* and b*).

    The conversion runs in float32, under autocast too; the result has the dtype of the images.

    Shape:
        `[B, 3, H, W]` to `[B, C, H, W]`, `C` is 1 for lightness and 2 for colour.
    """

    def __init__(
        self, to_lab: Callable[[Tensor], Tensor], channels: Literal["lightness", "color"]
    ) -> None:
        """Chooses the channels.

        Args:
            to_lab: From RGB in [0, 1] to L*a*b* as the networks shall see it, each `[B, 3, H, W]`.
            channels: `"lightness"` or `"color"`.

        Raises:
            ValueError: If the channels are neither.
        """
        super().__init__()
        if channels not in CHANNELS:
            raise ValueError(f'channels must be "lightness" or "color", got {channels!r}')
        self.to_lab = to_lab
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Converts and selects."""
        return self.to_lab(images)[:, CHANNELS[self.channels]].to(images.dtype)

    def extra_repr(self) -> str:
        """Shows the channels."""
        return f"channels={self.channels!r}"


class GrayToRGB(nn.Module):
    """Shows one channel as a gray picture of three, to a network that eats RGB.

    Shape:
        `[B, 1, H, W]` to `[B, 3, H, W]`.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Repeats the channel."""
        return images.expand(-1, 3, -1, -1)


class ColorToRGB(nn.Conv2d):
    """Shows the two channels of colour to a network that eats RGB, by a 1x1 convolution.

    It starts as a*, the mean of both, and b*, so that values in [0, 1] stay there, and it trains.

    Shape:
        `[B, 2, H, W]` to `[B, 3, H, W]`.
    """

    def __init__(self) -> None:
        super().__init__(2, 3, 1, bias=False)

    def reset_parameters(self) -> None:
        """Returns to the start."""
        start = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
        with torch.no_grad():
            self.weight.copy_(start[:, :, None, None])


class HalfBackbone(nn.Module):
    """A network that sees one part of what an image shows, and eats RGB like every backbone.

    Attributes:
        preprocess: From RGB to what the network sees.
        network: The network.
    """

    holds_networks = True  # see models/holders.py

    def __init__(self, preprocess: nn.Module, network: nn.Module) -> None:
        """Joins the two.

        Args:
            preprocess: From `[B, 3, H, W]` to what the network eats.
            network: A backbone for that.
        """
        super().__init__()
        self.preprocess = preprocess
        self.network = network

    def forward_features(self, images: Tensor) -> Tensor:
        """The network's map: `[B, 3, H, W]`, RGB in [0, 1], to `[B, D, h, w]`."""
        return feature_map(self.network, self.preprocess(images))

    def forward(self, images: Tensor) -> Tensor:
        """The network's features: `[B, 3, H, W]`, RGB in [0, 1], to `[B, D]`."""
        return pooled_features(self.network, self.preprocess(images))


class SplitBackbone(nn.Module):
    """The features of two halves side by side; neither half sees what the other sees.

    Attributes:
        lightness: The half whose features come first.
        color: The half whose features come last.
    """

    holds_networks = True  # see models/holders.py

    def __init__(self, lightness: HalfBackbone, color: HalfBackbone) -> None:
        """Takes the halves, whose maps have the same size."""
        super().__init__()
        self.lightness = lightness
        self.color = color

    def forward_features(self, images: Tensor) -> Tensor:
        """Both maps: `[B, 3, H, W]`, RGB in [0, 1], to `[B, 2 D, h, w]`."""
        halves = (self.lightness, self.color)
        return torch.cat([half.forward_features(images) for half in halves], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Both features: `[B, 3, H, W]`, RGB in [0, 1], to `[B, 2 D]`."""
        return torch.cat([half(images) for half in (self.lightness, self.color)], dim=1)


class SplitPredictions(NamedTuple):
    """What each half makes of an image."""

    from_lightness: Tensor  # (B, ...)
    from_color: Tensor  # (B, ...)


class SplitHead(nn.Module):
    """A head for each half of a `SplitBackbone`, which sees the features of that half alone.

    Attributes:
        lightness: Head on the features of the lightness.
        color: Head on the features of the colour.
        wants_map: Whether the heads take maps.
    """

    def __init__(
        self, lightness: nn.Module, color: nn.Module, dim: int, *, wants_map: bool
    ) -> None:
        """Joins the heads.

        Args:
            lightness: Head on `[B, D]` or `[B, D, h, w]`.
            color: Head on the remaining features.
            dim: `D` of the lightness half.
            wants_map: Whether the heads take maps instead of pooled features.

        Raises:
            ValueError: If `dim` is below 1.
        """
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be >= 1, got {dim}")
        self.lightness = lightness
        self.color = color
        self.dim = dim
        self.wants_map = wants_map

    def forward(self, features: Tensor) -> SplitPredictions:
        """Predicts from the first `dim` features, and from the others."""
        first, last = features[:, : self.dim], features[:, self.dim :]
        return SplitPredictions(self.lightness(first), self.color(last))

    def extra_repr(self) -> str:
        """Shows where the features are parted."""
        return f"dim={self.dim}, wants_map={self.wants_map}"


def as_split_predictions(predictions: Any) -> SplitPredictions:
    """Checks what a predictor of a `SplitBackbone` returned.

    Args:
        predictions: A pair of tensors.

    Returns:
        The pair by name.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(predictions, tuple) or len(predictions) != 2:
        raise TypeError(
            "predictor must return a pair (from lightness, from colour), got "
            f"{type(predictions).__name__}: build it as "
            "super_selfish.models.color_split.SplitHead(lightness, color, dim, wants_map=...)"
        )
    return SplitPredictions(*predictions)
