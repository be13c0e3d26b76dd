"""Contrastive prediction: which of these candidates is the one that was foretold?

Shapes: `P` predictions, `Q` candidates, `E` embedding, `N` negatives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def candidate_info_nce(
    predictions: Tensor,
    candidates: Tensor,
    positives: Tensor,
    logit_scale: float = 0.1,
    negatives: Tensor | None = None,
) -> Tensor:
    """Cross-entropy over candidates, of which one is the positive and the others negatives.

    `-log(exp(s p.c_+) / sum_c exp(s p.c))`, averaged over the predictions. Henaff et al., 2019,
    arXiv 1905.09272, equation 2; the scale is that of the pseudo-code. The vectors have any length.

    Args:
        predictions: `[P, E]`.
        candidates: `[Q, E]`.
        positives: `[P]`, int64, the candidate that each prediction means.
        logit_scale: Above 0.
        negatives: `[P, N]`, int64, the negatives of each prediction among the candidates; default:
            all but its positive.

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or the scale is not above 0.
    """
    _check_scale(logit_scale)
    shapes = (predictions.shape, candidates.shape)
    if predictions.ndim != 2 or candidates.ndim != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"expected predictions [P, E] and candidates [Q, E], got {[*shapes[0]]} and "
            f"{[*shapes[1]]}"
        )
    if positives.shape != (len(predictions),):
        raise ValueError(f"positives must be [{len(predictions)}], got {[*positives.shape]}")
    scaled = logit_scale * predictions  # (P, E)
    if negatives is None:
        return F.cross_entropy(scaled @ candidates.T, positives)
    if negatives.ndim != 2 or len(negatives) != len(predictions):
        raise ValueError(f"negatives must be [{len(predictions)}, N], got {[*negatives.shape]}")
    chosen = candidates[torch.cat([positives[:, None], negatives], dim=1)]  # (P, 1 + N, E)
    logits = torch.einsum("pe,pne->pn", scaled, chosen)
    return F.cross_entropy(logits, torch.zeros_like(positives))


class CandidateInfoNCELoss(nn.Module):
    """`candidate_info_nce` with a scale of its own."""

    def __init__(self, logit_scale: float = 0.1) -> None:
        """Args: logit_scale: Above 0.

        Raises:
            ValueError: If the scale is not above 0.
        """
        super().__init__()
        _check_scale(logit_scale)
        self.logit_scale = logit_scale

    def forward(
        self,
        predictions: Tensor,
        candidates: Tensor,
        positives: Tensor,
        negatives: Tensor | None = None,
    ) -> Tensor:
        """Computes `candidate_info_nce` of `[P, E]`, `[Q, E]`, `[P]` (`negatives`: `[P, N]`)."""
        return candidate_info_nce(predictions, candidates, positives, self.logit_scale, negatives)

    def extra_repr(self) -> str:
        """Shows the scale."""
        return f"logit_scale={self.logit_scale}"


class NeighborLoss(nn.Module):
    """NNCLR's: `candidate_info_nce` of neighbours among predictions, by a temperature.

    `-log(exp(n_i.p_i / t) / sum_k exp(n_i.p_k / t))` for the neighbour `n_i` of a view and the
    prediction `p_i` of the other view of its image. Dwibedi et al., 2021, arXiv 2104.14548, section
    3.2.
    """

    def __init__(self, temperature: float = 0.1) -> None:  # section 4.1
        """Args: temperature: Above 0, and finite.

        Raises:
            ValueError: If the temperature is out of its range.
        """
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be > 0 and finite, got {temperature}")
        self.temperature = temperature

    def forward(self, neighbors: Tensor, predictions: Tensor, own: Tensor) -> Tensor:
        """The loss of `[B, E]` among `[G, E]`, unit vectors, of which `[B]` are the positives."""
        return candidate_info_nce(neighbors, predictions, own, 1 / self.temperature)

    def extra_repr(self) -> str:
        """Shows the temperature."""
        return f"temperature={self.temperature}"


def _check_scale(logit_scale: float) -> None:
    if not logit_scale > 0:
        raise ValueError(f"logit_scale must be > 0, got {logit_scale}")
    if logit_scale == math.inf:
        raise ValueError("logit_scale must be finite, got inf")
