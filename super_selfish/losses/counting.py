"""What counts of parts must add up to, and must not.

Shapes: `B` images, `K` counts.
"""

from __future__ import annotations

from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared Euclidean distance of whole vectors, `[B, K]` each, to `[B]`; in float32."""
    return (first - second).square().sum(dim=1)


@in_full_precision
def counting_loss(
    whole: Tensor, parts: Tensor, others: Tensor, margin: float = 10.0, weight: float = 1.0
) -> Tensor:
    """The counts of an image are those of its parts, and not those of the parts of another image.

    Noroozi, Pirsiavash and Favaro, 2017, arXiv 1708.06734, equation 3:
    `|D(x) - sum T(x)|^2 + max(0, M - |D(y) - sum T(x)|^2)`. Both norms are of the whole vector: a
    margin for each count by itself would be one that nothing exceeds.

    Args:
        whole: `[B, K]`, counts of images, halved.
        parts: `[B, K]`, sums of the counts of their tiles.
        others: `[B, K]`, counts of other images, halved.
        margin: `M`, squared distance from which on another image is far enough.
        weight: Of the second term.

    Returns:
        Scalar, mean over the batch; `margin * weight` if all counts are 0.
    """
    apart = margin - squared_distance(others, parts)
    return (squared_distance(whole, parts) + weight * apart.clamp(min=0.0)).mean()


class CountingLoss(nn.Module):
    """`counting_loss` with a margin and a weight."""

    def __init__(self, margin: float = 10.0, weight: float = 1.0) -> None:
        """Takes the numbers.

        Args:
            margin: Squared distance from which on another image is far enough.
            weight: Of the term that keeps other images apart.

        Raises:
            ValueError: If one is not above 0.
        """
        super().__init__()
        if not (0.0 < margin < float("inf") and 0.0 < weight < float("inf")):
            raise ValueError(f"margin and weight must be numbers > 0, got {margin} and {weight}")
        self.margin = margin
        self.weight = weight

    def forward(self, whole: Tensor, parts: Tensor, others: Tensor) -> Tensor:
        """See `counting_loss`."""
        return counting_loss(whole, parts, others, self.margin, self.weight)

    def extra_repr(self) -> str:
        """Shows the numbers."""
        return f"margin={self.margin}, weight={self.weight}"
