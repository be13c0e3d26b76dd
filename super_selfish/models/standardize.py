"""Features of a frozen backbone on one scale, whatever the backbone made of them.

Shapes: `B` images, `D` features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Standardize(nn.BatchNorm1d):
    """Features of mean 0 and variance 1: batch norm without scale and shift.

    He, Chen, Xie, Li, Dollár, Girshick, 2021, "Masked autoencoders are scalable vision learners",
    arXiv 2111.06377, appendix A.1, linear probing: "we adopt an extra BatchNorm layer without
    affine transformation (affine=False)", which "does not break the linear property", as at test
    time it can be absorbed into the linear classifier. Features of a ResNet vary by hundredths, so
    that without it a linear layer hardly moves at usual learning rates.

    In evaluation it takes the mean of the statistics of all batches so far: a frozen backbone does
    not change, and a moving average would hold of its first value, 1, for a hundred batches more
    than such features vary by. A batch of one image has no statistics of its own: it is
    standardised by those so far, and moves them.

    Shape:
        `[B, D]` to `[B, D]`.
    """

    def __init__(self, num_features: int) -> None:
        """Takes `D`."""
        # Features may vary by 1e-4: batch norm's own 1e-5, which is added to the variance, would
        # swallow them. One that never varies stays 0.
        super().__init__(num_features, eps=1e-10, momentum=None, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """Standardises."""
        if not self.training or len(input) > 1:
            return super().forward(input)
        return F.batch_norm(
            input, *self._moved(input), weight=None, bias=None, training=False, eps=self.eps
        )

    @torch.no_grad()
    def _moved(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance after a batch of one."""
        mean, variance, count = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or variance is None or count is None:
            raise RuntimeError("statistics were taken from this norm")
        if int(count) == 0:
            variance.zero_()
        count.add_(1)
        distance = features[0].to(mean.dtype) - mean
        mean.add_(distance / count)
        variance.add_((distance * (features[0].to(mean.dtype) - mean) - variance) / count)
        return mean, variance
