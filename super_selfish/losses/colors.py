"""Cross-entropy of colours that belong to several bins, rare ones counted more.

Shapes: `B` images, `Q` bins, `n` bins near a colour, `h, w` grid of places.
"""

from __future__ import annotations

from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def rebalanced_cross_entropy(
    logits: Tensor, bins: Tensor, shares: Tensor, weights: Tensor
) -> Tensor:
    """Cross-entropy against soft targets, weighed place by place.

    Zhang, Isola and Efros, 2016, arXiv 1603.08511, equation 2: the sum over places of
    `-v * sum_q Z_q log Z^_q`; here the mean over the places that count. In float32, under autocast
    too.

    Args:
        logits: `[B, Q, h, w]`.
        bins: `[B, n, h, w]`, int64, the bins that a colour belongs to, each once.
        shares: `[B, n, h, w]`, how much; 0 for all other bins.
        weights: `[B, h, w]`, of places; those of weight 0 do not count.

    Returns:
        A scalar; 0 if no place counts.
    """
    of_places = -(shares * logits.log_softmax(dim=1).gather(1, bins)).sum(dim=1)  # (B, h, w)
    return (weights * of_places).sum() / (weights > 0).sum().clamp(min=1)


class RebalancedCrossEntropyLoss(nn.Module):
    """`rebalanced_cross_entropy` as a module."""

    def forward(self, logits: Tensor, bins: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
        """See `rebalanced_cross_entropy`."""
        return rebalanced_cross_entropy(logits, bins, shares, weights)
