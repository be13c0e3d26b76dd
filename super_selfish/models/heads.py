"""Heads on pooled features. Hidden layers are normalised and rectified, last layers are plain.

Logits, embeddings and pixels need every value; a norm or a ReLU after the last layer takes it from
them (METHODS.md 1.9, defect B12 of release 0.0.6).

Shapes: `B` images, `D` features, `h, w` map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadNorm = Literal["batch", "layer"] | None
_RELU = partial(nn.ReLU, inplace=True)


def hidden_width(features: int) -> int:
    """Width of hidden layers of heads that are as wide as those of papers for large backbones.

    Args:
        features: Width of its features.

    Returns:
        4096 from 1024 on, as in the papers (of 2048); below four times the width, at least 512.
    """
    return 4096 if features >= 1024 else max(512, 4 * features)


class MLP(nn.Sequential):
    """Fully connected layers: hidden ones FC, norm, activation; the last one FC alone.

    Shape:
        `[B, in_features]` to `[B, out_features]`.

    Attributes:
        in_features: Width of the input.
        out_features: Width of the output.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_features: int,
        *,
        norm: HeadNorm = "batch",
        bias: bool = True,
        activation: Callable[[], nn.Module] = _RELU,
    ) -> None:
        """Builds the layers.

        Args:
            in_features: Width of the input.
            hidden: Widths of the hidden layers; none makes a linear layer.
            out_features: Width of the output.
            norm: What follows a hidden layer: `"batch"`, `"layer"` or nothing (`None`).
            bias: Whether the last layer has one. A hidden layer has one where no norm follows,
                which would bring its own.
            activation: Makes what ends a hidden layer; default: ReLU.

        Raises:
            ValueError: If a width is below 1 or the norm is unknown.
        """
        if min(in_features, out_features, *hidden) < 1:
            raise ValueError(
                f"widths must be >= 1, got {in_features}, {tuple(hidden)} and {out_features}"
            )
        if norm not in ("batch", "layer", None):
            raise ValueError(f'norm must be "batch", "layer" or None, got {norm!r}')
        layers: list[nn.Module] = []
        width = in_features
        for hidden_width in hidden:
            layers.append(nn.Linear(width, hidden_width, bias=norm is None))
            if norm == "batch":
                layers.append(nn.BatchNorm1d(hidden_width))
            elif norm == "layer":
                layers.append(nn.LayerNorm(hidden_width))
            layers.append(activation())
            width = hidden_width
        layers.append(nn.Linear(width, out_features, bias=bias))
        super().__init__(*layers)
        self.in_features = in_features
        self.out_features = out_features


class Classification(MLP):
    """Logits over classes, for pretext tasks with labels (rotation, exemplar, jigsaw).

    Shape:
        `[B, in_features]` to `[B, num_classes]`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden: Sequence[int] = (1024, 256),  # release 0.0.6
        *,
        norm: HeadNorm = "batch",
    ) -> None:
        """Builds the layers.

        Args:
            in_features: Width of the features.
            num_classes: Number of logits.
            hidden: Widths of the hidden layers.
            norm: What follows a hidden layer: `"batch"`, `"layer"` or nothing (`None`).
        """
        super().__init__(in_features, hidden, num_classes, norm=norm)


def suited_width(features: int, published: int) -> int:
    """Width of a space of embeddings, for a backbone whatever its size.

    Args:
        features: Width of its features.
        published: Width of the paper, whose features are many.

    Returns:
        The paper's, but at most four times the features, and that at least 256.
    """
    return min(published, max(256, 4 * features))


class ProjectionHead(MLP):
    """The projector of MoCo v2: FC, ReLU, FC, without any norm.

    Chen, Fan, Girshick and He, 2020, arXiv 2003.04297, section 3: "we replace the fc head in MoCo
    with a 2-layer MLP head (hidden layer 2048-d, with ReLU)". 2048 is the width of its features.
    The output is not normalised.

    Shape:
        `[B, in_features]` to `[B, out_features]`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int = 128,  # MoCo, section 3.3
        hidden_features: int | None = None,
    ) -> None:
        """Builds the layers.

        Args:
            in_features: Width of the features.
            out_features: Width of the embeddings.
            hidden_features: Width of the hidden layer; that of the features for `None`.
        """
        hidden = in_features if hidden_features is None else hidden_features
        super().__init__(in_features, (hidden,), out_features, norm=None)


class PrototypeHead(nn.Module):
    """The head of DINO: layers down to a bottleneck of unit length, and cosines with directions.

    Caron et al., 2021, arXiv 2104.14294, appendix C: three FC layers with GELU in between, then an
    l2 norm and a weight-normalised layer, whose lengths stay 1. Weights begin as in the authors'
    code: of a normal distribution with deviation 0.02, and those of the last layer as a linear
    layer's of PyTorch. How long they are matters, though only their directions count: by Adam the
    direction of a row turns by about the rate times `sqrt(E)` over its length, in an update.

    Shape:
        `[B, in_features]` to `[B, out_features]`, numbers in [-1, 1].

    Attributes:
        layers: Down to the bottleneck.
        prototypes: `[out_features, bottleneck]`, of any length: their directions count.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        bottleneck: int,
        out_features: int,
        *,
        norm: HeadNorm = None,
    ) -> None:
        """Builds the layers.

        Args:
            in_features: Width of the features.
            hidden_features: Width of both hidden layers.
            bottleneck: Width of the last but one.
            out_features: Number of directions.
            norm: As for `MLP`.
        """
        super().__init__()
        hidden = (hidden_features, hidden_features)
        self.layers = MLP(in_features, hidden, bottleneck, norm=norm, activation=nn.GELU)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        bound = bottleneck**-0.5
        self.prototypes = nn.Parameter(torch.empty(out_features, bottleneck))
        nn.init.uniform_(self.prototypes, -bound, bound)
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, features: Tensor) -> Tensor:
        """Cosines of the bottleneck with each direction."""
        directions = F.normalize(self.prototypes, dim=1)
        return F.normalize(self.layers(features), dim=1) @ directions.T


class BottleneckMap(nn.Module):
    """The bottleneck of release 0.0.6 for images of any size: few channels on a fixed grid.

    A 3x3 convolution and PReLU, average pooling to `size x size`, flattened. The first module of
    an `nn.Sequential`, followed by a head of `out_features`, it keeps where things are, which
    pooled features forget.

    Shape:
        `[B, D, h, w]` to `[B, channels * size * size]`.

    Attributes:
        out_features: Width of the output; 3136 by default, as in release 0.0.6.
    """

    wants_map = True

    def __init__(self, in_channels: int, channels: int = 64, size: int = 7) -> None:
        """Builds the layers.

        Args:
            in_channels: Channels of the map.
            channels: Channels of the bottleneck.
            size: Side of the grid, cells.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        if min(in_channels, channels, size) < 1:
            raise ValueError(
                "in_channels, channels and size must be >= 1, "
                f"got {in_channels}, {channels} and {size}"
            )
        self.size = size
        self.out_features = channels * size * size
        self.convolution = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.activation = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Squeezes `[B, D, h, w]` to `[B, out_features]`."""
        squeezed = self.activation(self.convolution(features))
        return F.adaptive_avg_pool2d(squeezed, self.size).flatten(1)


class MapAdapter(nn.Module):
    """The same layers at every place of a map: `MLP` as convolutions of 1x1, with layer norm.

    Shape:
        `[B, in_features, h, w]` to `[B, out_features, h, w]`.
    """

    wants_map = True

    def __init__(self, in_features: int, hidden: Sequence[int], out_features: int) -> None:
        """Builds the layers.

        Args:
            in_features: Channels of the map.
            hidden: Widths of the hidden layers.
            out_features: Channels of the output.
        """
        super().__init__()
        self.layers = MLP(in_features, hidden, out_features, norm="layer", activation=nn.GELU)

    def forward(self, features: Tensor) -> Tensor:
        """Adapts `[B, in_features, h, w]`."""
        places = features.permute(0, 2, 3, 1)  # (B, h, w, D)
        adapted: Tensor = self.layers(places)
        return adapted.permute(0, 3, 1, 2)
