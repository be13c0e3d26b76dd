"""Losses on masks of which some pixels do not count.

Shapes: `B` images, `h, w` mask.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def masked_binary_cross_entropy(
    logits: Tensor, targets: Tensor, counts: Tensor, positive_weight: float = 1.0
) -> Tensor:
    """Cross-entropy of yes and no, averaged over the pixels that count.

    `mean over them of -w y log s(x) - (1 - y) log (1 - s(x))`, `s` the sigmoid.

    Args:
        logits: `[B, 1, h, w]`.
        targets: `[B, 1, h, w]`, bool or in [0, 1].
        counts: `[B, 1, h, w]`, bool.
        positive_weight: `w`, above 0.

    Returns:
        Scalar, nats, in float32 (float64 for float64); 0 where no pixel counts.

    Raises:
        ValueError: If shapes differ, or the weight is not above 0.
    """
    if not logits.shape == targets.shape == counts.shape:
        raise ValueError(
            "logits, targets and counts must be of one shape, got "
            f"{[*logits.shape]}, {[*targets.shape]} and {[*counts.shape]}"
        )
    if not positive_weight > 0:
        raise ValueError(f"positive_weight must be above 0, got {positive_weight}")
    weight = logits.new_tensor(positive_weight)
    each = F.binary_cross_entropy_with_logits(
        logits, targets.to(logits.dtype), pos_weight=weight, reduction="none"
    )
    counted = counts.to(logits.dtype)
    return (each * counted).sum() / counted.sum().clamp_min(1.0)
