"""The block of EfficientNet, with the layers of efficientnet-pytorch and a forward of its own.

Sandler et al., 2018, "MobileNetV2", arXiv 1801.04381 (inverted bottleneck); Hu et al., 2017,
"Squeeze-and-Excitation Networks", arXiv 1709.01507; Huang et al., 2016, "Deep Networks with
Stochastic Depth", arXiv 1603.09382 (dropped branches).

Shapes: `B` images, `C, H, W` map.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InvertedBottleneck(nn.Module):
    """Expands channels, filters each by itself, weighs them by their means, and projects them back.

    Parameters keep the names that they have in efficientnet-pytorch. A map is read and written as
    seldom as possible: squeeze and excitation are two products of matrices, and dropping a branch,
    scaling the others and adding the shortcut are one operation.
    """

    _expand_conv: nn.Module
    _bn0: nn.Module
    _depthwise_conv: nn.Module
    _bn1: nn.Module
    _se_reduce: nn.Module
    _se_expand: nn.Module
    _project_conv: nn.Module
    _bn2: nn.Module

    def __init__(self, block: Any) -> None:
        """Args: block: One of efficientnet-pytorch's; its layers are taken, not copied."""
        super().__init__()
        for name, layer in block.named_children():
            setattr(self, name, layer)
        settings = block._block_args
        self.expands: bool = settings.expand_ratio != 1
        self.has_shortcut: bool = (
            block.id_skip
            and settings.stride == 1
            and settings.input_filters == settings.output_filters
        )

    def forward(self, inputs: Tensor, drop_connect_rate: float = 0.0) -> Tensor:
        """Computes the block.

        Args:
            inputs: `[B, C, H, W]`.
            drop_connect_rate: Probability with which the branch of a sample is dropped in train
                mode; the others are scaled so that the mean stays.

        Returns:
            `[B, C', H / stride, W / stride]`.
        """
        x = inputs
        if self.expands:
            x = F.silu(self._bn0(self._expand_conv(x)))
        x = F.silu(self._bn1(self._depthwise_conv(x)))
        x = x * self._importance(x)
        x = self._bn2(self._project_conv(x))
        if not self.has_shortcut:
            return x
        if not (self.training and drop_connect_rate > 0.0):
            return x + inputs
        kept = 1.0 - drop_connect_rate
        drawn = torch.rand(len(x), 1, 1, 1, dtype=torch.float32, device=x.device)
        return torch.addcmul(inputs, x, ((drawn < kept) / kept).to(x.dtype))

    def _importance(self, x: Tensor) -> Tensor:
        """Weight of every channel, `[B, C, 1, 1]`; 1x1 convolutions of single pixels."""
        hidden = F.silu(as_matrix(self._se_reduce, x.mean(dim=(2, 3))))
        return as_matrix(self._se_expand, hidden).sigmoid()[:, :, None, None]


class DepthwiseConv2d(nn.Conv2d):
    """Convolution of every channel by itself, odd kernel, stride 1, as large after as before.

    On maps smaller than the kernel oneDNN, which computes convolutions on a CPU, takes 10 to 20
    times as long for the gradient as its usual way would. There the padding is written out, and of
    the kernel only what can meet a pixel is used: the rest would have met zeros.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolves `[B, C, H, W]`."""
        kernel = self.kernel_size[0]
        if not self.training or min(x.shape[-2:]) >= kernel or x.device.type != "cpu":
            return super().forward(x)
        above, beside = (min(kernel // 2, size - 1) for size in x.shape[-2:])
        cut_h, cut_w = kernel // 2 - above, kernel // 2 - beside
        weight = self.weight[..., cut_h : kernel - cut_h, cut_w : kernel - cut_w]
        x = F.pad(x, (beside, beside, above, above))
        return F.conv2d(x, weight, self.bias, groups=self.groups)


def as_matrix(conv: Any, x: Tensor) -> Tensor:
    """What a 1x1 convolution makes of single pixels `[B, C]`, without the cost of setting it up."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)
