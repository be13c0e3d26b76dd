"""Images of one brightness and no colour, for a network that takes colours.

Shapes: `B` images, `H, W` image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue in luma (ITU-R BT.601)


class Gray(nn.Module):
    """Shows luma in all three channels. Twice is as once.

    Shape:
        `[B, 3, H, W]` to the same.
    """

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(WEIGHTS).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Adds the channels up, weighed, and repeats the sum."""
        weights = self.weights.to(images.dtype)
        return (images * weights).sum(dim=-3, keepdim=True).expand_as(images)
