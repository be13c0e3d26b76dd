"""Contrastive losses: tell the positive from the negatives.

Shapes: `B` batch, `D` embedding, `K` negatives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def info_nce(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    exclude: Tensor | None = None,
) -> Tensor:
    """InfoNCE with negatives that the whole batch shares.

    `-log(exp(q.k / t) / (exp(q.k / t) + sum_j exp(q.n_j / t)))`, averaged over the batch. Van den
    Oord, Li and Vinyals, 2018, arXiv 1807.03748, equation 4; in this form He et al., 2019, arXiv
    1911.05722, equation 1.

    Nothing is detached here: keys and negatives from a momentum encoder or a bank come without
    gradient, fresh ones may carry it.

    Args:
        queries: `[B, D]`, unit vectors.
        keys: `[B, D]`, unit vectors, the positive of each query.
        negatives: `[K, D]`, unit vectors.
        temperature: Above 0.
        exclude: `[B, K]`, bool, true where a shared negative is none for that query (its own
            entry in a memory bank).

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit, there are no negatives or the temperature is not above 0.
        TypeError: If `exclude` is not bool.
    """
    _check_temperature(temperature)
    _check_pairs(queries, keys)
    batch, dim = queries.shape
    if negatives.ndim != 2 or negatives.shape[1] != dim or negatives.shape[0] == 0:
        raise ValueError(f"negatives must be [K, {dim}] with K >= 1, got {list(negatives.shape)}")
    scaled = queries / temperature  # (B, D): cheaper than dividing (B, K) similarities
    positive = (scaled * keys).sum(dim=1)  # (B,)
    negative = scaled @ negatives.T  # (B, K)
    if exclude is not None:
        if exclude.dtype != torch.bool:
            raise TypeError(f"exclude must be bool, got {exclude.dtype}")
        if exclude.shape != (batch, len(negatives)):
            raise ValueError(
                f"exclude must be [B, K] = {[batch, len(negatives)]}, got {list(exclude.shape)}"
            )
        # Not -inf: a row without any negative would get the gradient NaN.
        negative = negative.masked_fill(exclude, torch.finfo(negative.dtype).min)
    return (torch.logaddexp(positive, negative.logsumexp(dim=1)) - positive).mean()


@in_full_precision
def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy between two views (SimCLR).

    Each of the `2B` vectors has its other view as positive and the remaining `2B - 2` as negatives.
    Chen, Kornblith, Norouzi and Hinton, 2020, arXiv 2002.05709, equation 1 and algorithm 1.

    Args:
        first: `[B, D]`, unit vectors of the first views.
        second: `[B, D]`, unit vectors of the second views.
        temperature: Above 0.

    Returns:
        Scalar, nats, mean over both directions, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or the temperature is not above 0.
    """
    _check_temperature(temperature)
    _check_pairs(first, second)
    batch = len(first)
    vectors = torch.cat([first, second])  # (2B, D)
    similarities = (vectors / temperature) @ vectors.T  # (2B, 2B)
    itself = torch.eye(2 * batch, dtype=torch.bool, device=vectors.device)
    logits = similarities.masked_fill(itself, torch.finfo(similarities.dtype).min)
    other_view = torch.arange(2 * batch, device=vectors.device).roll(batch)
    return F.cross_entropy(logits, other_view)


class InfoNCELoss(nn.Module):
    """`info_nce` with a temperature of its own."""

    def __init__(self, temperature: float = 0.2) -> None:  # 0.2: MoCo v2, section 3
        """Args: temperature: Above 0.

        Raises:
            ValueError: If the temperature is not above 0.
        """
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(
        self, queries: Tensor, keys: Tensor, negatives: Tensor, exclude: Tensor | None = None
    ) -> Tensor:
        """Computes `info_nce` of `[B, D]`, `[B, D]` and `[K, D]` (`exclude`: `[B, K]`)."""
        return info_nce(queries, keys, negatives, self.temperature, exclude)

    def extra_repr(self) -> str:
        """Shows the temperature."""
        return f"temperature={self.temperature}"


class NTXentLoss(nn.Module):
    """`nt_xent` with a temperature of its own."""

    def __init__(self, temperature: float = 0.5) -> None:  # 0.5: SimCLR on CIFAR-10, appendix B.9
        """Args: temperature: Above 0.

        Raises:
            ValueError: If the temperature is not above 0.
        """
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Computes `nt_xent` of two `[B, D]`."""
        return nt_xent(first, second, self.temperature)

    def extra_repr(self) -> str:
        """Shows the temperature."""
        return f"temperature={self.temperature}"


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if temperature == math.inf:  # every loss would be constant
        raise ValueError("temperature must be finite, got inf")


def _check_pairs(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            f"expected two tensors of one shape [B, D], got {list(first.shape)} and "
            f"{list(second.shape)}"
        )
