"""EfficientNet features for images of every size: the default backbone.

The networks are those of efficientnet-pytorch (Tan and Le, 2019, arXiv 1905.11946), without their
classifier. Four parts are exchanged, none of which changes what the published weights compute:
the memory-saving swish for SiLU, convolutions padded for one image size for convolutions that are
right at every size, the forward of its blocks, and the input normalisation moved inside. Weights
lie channels-last, and so do the maps that they give: faster wherever it was measured.

Shapes: `B` images, `C, H, W` image, `D` features, `h, w` map.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.models.inverted_bottleneck import DepthwiseConv2d, InvertedBottleneck
from super_selfish.models.normalize import Normalize

EFFICIENTNETS = (
    *("efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3"),
    *("efficientnet-b4", "efficientnet-b5", "efficientnet-b6", "efficientnet-b7"),
)
# torch's default. efficientnet-pytorch carries TensorFlow's 0.99 over, which is 0.01 here: after a
# few hundred steps the running statistics of a network trained from scratch still hold its start.
# (torch's batch norm momentum weighs the new value.)
MOMENTUM_FROM_SCRATCH = 0.1


class EfficientFeatures(nn.Module):
    """EfficientNet without its classifier. Eats float images in [0, 1] and normalises inside.

    Parameters and statistics keep the names of efficientnet-pytorch (`_conv_stem`, `_blocks.0...`),
    so a published file loads with `load_state_dict(..., strict=False)` as well. Dropped residual
    branches in train mode ("drop connect") draw from torch's global stream, like dropout.

    Attributes:
        name: Which EfficientNet it is.
        num_features: `D`, 1280 for b0.
        stem: How it begins: `"imagenet"` or `"small"`.
        first_layers: The same in words, where that is not as published; else None.
    """

    def __init__(
        self,
        name: str = "efficientnet-b0",
        pretrained: bool | str | os.PathLike[str] = False,
        norm_type: Literal["batch", "layer"] = "batch",
        *,
        in_channels: int = 3,
        stem_stride: int = 2,
    ) -> None:
        """Builds the network.

        Args:
            name: `"efficientnet-b0"` to `"efficientnet-b7"`.
            pretrained: Whether to load the published ImageNet weights (downloaded by
                efficientnet-pytorch), or the path of such a file. Published networks keep their
                batch norm momentum (0.01), others get torch's.
            norm_type: `"batch"`, or `"layer"`: every sample is normalised by itself over channels
                and space (`GroupNorm(1, C)`; normalising over the channels alone took half as long
                again in PERFORMANCE.md). Published convolutions, scales and shifts fit a
                layer norm, batch statistics do not: such a network needs training.
            in_channels: Channels of the images. Published weights of the first layer are averaged
                over the colours and scaled by `3 / in_channels`, which keeps the size of the
                activations.
            stem_stride: 2, or 1 for small images (total stride 16 instead of 32).

        Raises:
            ValueError: If an argument is none of these values.
        """
        super().__init__()
        if name not in EFFICIENTNETS:
            raise ValueError(f"name must be one of {', '.join(EFFICIENTNETS)}, got {name!r}")
        if norm_type not in ("batch", "layer"):
            raise ValueError(f'norm_type must be "batch" or "layer", got {norm_type!r}')
        if in_channels < 1:
            raise ValueError(f"in_channels must be >= 1, got {in_channels}")
        if stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2, got {stem_stride}")
        self.name = name
        self.in_channels = in_channels
        self.stem = "imagenet" if stem_stride == 2 else "small"
        self.first_layers = None if stem_stride == 2 else "a convolution of stride 1"
        self.normalize = Normalize.imagenet(in_channels)

        network = _original(name, pretrained)
        network._conv_stem = _adapt_stem(
            network._conv_stem, in_channels, stem_stride, keep_weights=pretrained is not False
        )
        momentum = None if pretrained else MOMENTUM_FROM_SCRATCH
        _exchange_layers(network, norm_type, momentum)
        self._conv_stem: nn.Module = network._conv_stem
        self._bn0: nn.Module = network._bn0
        self._blocks = nn.ModuleList(InvertedBottleneck(block) for block in network._blocks)
        self._conv_head: nn.Module = network._conv_head
        self._bn1: nn.Module = network._bn1
        self.num_features: int = network._conv_head.out_channels
        # Grows linearly with depth, as published: 0 at the first block.
        rate, depth = network._global_params.drop_connect_rate, len(self._blocks)
        self.drop_connect_rates = tuple(rate * block / depth for block in range(depth))
        self.to(memory_format=torch.channels_last)

    def forward_features(self, images: Tensor) -> Tensor:
        """The last map, after head convolution, norm and swish.

        Args:
            images: `[B, C, H, W]`, float in [0, 1], any size from 32x32 up.

        Returns:
            `[B, D, h, w]`, `h = ceil(H / 32)` (`ceil(H / 16)` with a stem of stride 1).

        Raises:
            TypeError: If the images are not floating point.
            ValueError: If their shape is not `[B, in_channels, H, W]`.
        """
        if not images.is_floating_point():
            raise TypeError(f"expected float images in [0, 1], got {images.dtype}: divide by 255")
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"expected images [B, {self.in_channels}, H, W], got {list(images.shape)}"
            )
        x = self.normalize(images)
        x = F.silu(self._bn0(self._conv_stem(x)))
        for block, rate in zip(self._blocks, self.drop_connect_rates, strict=True):
            x = block(x, drop_connect_rate=rate)
        return F.silu(self._bn1(self._conv_head(x)))  # (B, D, h, w)

    def forward(self, images: Tensor) -> Tensor:
        """Features averaged over space: `[B, C, H, W]` to `[B, D]`."""
        return self.forward_features(images).mean(dim=(2, 3))

    def reset_parameters(self) -> None:
        """Draws every weight anew and resets scales, shifts and running statistics."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)):
                module.reset_parameters()


class SamePaddingConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the output has `ceil(size / stride)`.

    The padding follows from the size of each input. Where it is the same on both sides the
    convolution pads by itself; a copy is made only where it is not (stride 2 and even size).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolves `[B, C, H, W]`."""
        (kernel_h, kernel_w), (stride_h, stride_w) = self.weight.shape[-2:], self.stride
        top, bottom = same_padding(x.shape[-2], kernel_h, stride_h)
        left, right = same_padding(x.shape[-1], kernel_w, stride_w)
        padding = (top, left)
        if (top, left) != (bottom, right):
            x = F.pad(x, (left, right, top, bottom))
            padding = (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels of padding before and after; TensorFlow puts an odd one after.

    Args:
        size: Input size along the axis, pixels.
        kernel: Kernel size, pixels.
        stride: Step, pixels.
    """
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _original(name: str, pretrained: bool | str | os.PathLike[str]) -> Any:
    from efficientnet_pytorch import EfficientNet  # here: only those who build one pay for it

    if pretrained is True:
        with contextlib.redirect_stdout(io.StringIO()):  # the loader prints
            return EfficientNet.from_pretrained(name)
    network = EfficientNet.from_name(name)
    if pretrained is not False:
        # Not by the package's own loader: where torch does not by itself (before 2.6), it would
        # run code that a file holds.
        file = os.path.expanduser(pretrained)
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network


def _adapt_stem(stem: nn.Conv2d, in_channels: int, stride: int, *, keep_weights: bool) -> nn.Conv2d:
    adapted = nn.Conv2d(in_channels, stem.out_channels, 3, stride, bias=False)
    if in_channels == stem.in_channels:
        adapted.weight = stem.weight
    elif keep_weights:
        mean = stem.weight.detach().mean(dim=1, keepdim=True)
        scale = stem.in_channels / in_channels
        adapted.weight = nn.Parameter((mean * scale).repeat(1, in_channels, 1, 1))
    return adapted


def _exchange_layers(module: nn.Module, norm_type: str, momentum: float | None) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            setattr(module, name, _size_free(child))
        elif isinstance(child, nn.BatchNorm2d) and norm_type == "layer":
            setattr(module, name, _layer_norm(child))
        elif isinstance(child, nn.BatchNorm2d):
            child.momentum = child.momentum if momentum is None else momentum
        elif name == "_swish":
            delattr(module, name)  # it saves memory and costs time; SiLU computes the same
        else:
            _exchange_layers(child, norm_type, momentum)


def _size_free(conv: nn.Conv2d) -> nn.Conv2d:
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    # At stride 1 an odd kernel needs the same padding on both sides, whatever the size.
    kind = SamePaddingConv2d if stride != 1 else nn.Conv2d if conv.groups == 1 else DepthwiseConv2d
    exchanged = kind(
        conv.in_channels,
        conv.out_channels,
        kernel,
        stride,
        padding=kernel // 2,
        groups=conv.groups,
        bias=conv.bias is not None,
        device=torch.device("meta"),  # the weights are the given ones
    )
    exchanged.weight, exchanged.bias = conv.weight, conv.bias
    return exchanged


def _layer_norm(norm: nn.BatchNorm2d) -> nn.GroupNorm:
    layer_norm = nn.GroupNorm(1, norm.num_features, eps=norm.eps)
    layer_norm.weight, layer_norm.bias = norm.weight, norm.bias
    return layer_norm
