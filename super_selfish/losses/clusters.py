"""Losses over prototypes: codes that share images out among them (SwAV), or k-means (DeepCluster).

Shapes: `B` images, `N` images whose codes are made together, `K` prototypes, `E` embedding, `V`
views, of which the first `A` have codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def prototype_scores(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines of embeddings with prototypes.

    Args:
        embeddings: `[B, E]`, of any length.
        prototypes: `[K, E]`, unit vectors.

    Returns:
        `[B, K]`, in float32 (float64 for float64).
    """
    return F.normalize(embeddings, dim=1) @ prototypes.T


@torch.no_grad()
@in_full_precision
def sinkhorn_codes(
    scores: Tensor, epsilon: float, iterations: int, weights: Tensor | None = None
) -> Tensor:
    """Shares images out among prototypes, each prototype as much as any other (Sinkhorn-Knopp).

    Caron et al., 2020, arXiv 2006.09882, section 3.1, equations 3 to 5: of all matrices whose
    columns of prototypes have equal sums, the one that fits the scores best, with an entropy weight
    of `epsilon`. Each iteration gives all prototypes, then all images, the same sum; three come
    near enough.

    In the end `Q = u exp(scores / epsilon) v`, so that an iteration is two products of the
    exponentials and a vector. Each image has its largest exponential set to 1, which its `v` makes
    up for: nothing overflows, and no image is lost, however small `epsilon` is.

    Args:
        scores: `[N, K]`.
        epsilon: Above 0, and finite; the smaller, the more decided are the codes.
        iterations: At least 1.
        weights: `[N]`, 0 for images that do not count, 1 for others. None: all count.

    Returns:
        `[N, K]`, each row with the sum 1, in float32 (float64 for float64), without gradient. Rows
        that do not count are 0.

    Raises:
        ValueError: If scores are no matrix, or a number is out of its range.
    """
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores must be [N, K], got {list(scores.shape)}")
    check_sinkhorn(epsilon, iterations)
    exponents = scores / epsilon
    largest = exponents.amax(dim=1)  # (N,)
    scale = (exponents - largest[:, None]).exp()  # (N, K), each row with a 1
    counts = torch.ones_like(largest) if weights is None else weights.to(largest)
    highest = largest.masked_fill(counts == 0, -math.inf).amax()
    of_images = (largest - highest).exp() * counts  # (N,), of which some may be 0
    smallest = torch.finfo(scale.dtype).tiny
    for _ in range(iterations):
        of_prototypes = 1 / (of_images @ scale).clamp(min=smallest)  # (K,)
        of_images = counts / (scale @ of_prototypes).clamp(min=smallest)  # (N,)
    return of_images[:, None] * scale * of_prototypes


@in_full_precision
def swapped_prediction(codes: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each code with what all other views of its image predict.

    The mean over views `i` with codes and over views `v` other than `i` of
    `-sum_k q_ik log softmax_k(s_v / t)`. Caron et al., 2020, arXiv 2006.09882, equations 1 and 2,
    and for several crops section 3.2, equation 6.

    Args:
        codes: `[A, B, K]`, each row with the sum 1, without gradient.
        scores: `[V, B, K]`, of which the first `A` belong to the views with codes.
        temperature: Above 0, and finite.

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit, there are fewer than two views, or the temperature is out
            of its range.
    """
    _check_temperature(temperature)
    fits = codes.ndim == scores.ndim == 3 and codes.shape[1:] == scores.shape[1:]
    if not fits or not 1 <= len(codes) <= len(scores) or len(scores) < 2:
        raise ValueError(
            "codes must be [A, B, K] and scores [V, B, K] with V >= 2 and V >= A, got "
            f"{list(codes.shape)} and {list(scores.shape)}"
        )
    predictions = (scores / temperature).log_softmax(dim=2)  # (V, B, K)
    of_others = predictions.sum(dim=0) - predictions[: len(codes)]  # (A, B, K)
    return -(codes * of_others).sum(dim=2).mean() / (len(scores) - 1)


class SwappedPredictionLoss(nn.Module):
    """`swapped_prediction` with a temperature of its own."""

    def __init__(self, temperature: float = 0.1) -> None:  # 0.1: SwAV, code
        """Args: temperature: Above 0, and finite.

        Raises:
            ValueError: If the temperature is out of its range.
        """
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(self, codes: Tensor, scores: Tensor) -> Tensor:
        """Computes `swapped_prediction` of `[A, B, K]` and `[V, B, K]`."""
        return swapped_prediction(codes, scores, self.temperature)

    def extra_repr(self) -> str:
        """Shows the temperature."""
        return f"temperature={self.temperature}"


@in_full_precision
def cluster_prediction(scores: Tensor, clusters: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of what all views predict with the cluster of their image (DeepCluster v2).

    The mean over views and images of `-log softmax_c(s / t)`. Caron et al., 2020, arXiv 2006.09882,
    appendix, and the authors' code.

    Args:
        scores: `[V, B, K]`.
        clusters: `[B]`, int64, that of each image.
        temperature: Above 0, and finite.

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or the temperature is out of its range.
    """
    _check_temperature(temperature)
    if scores.ndim != 3 or 0 in scores.shape or clusters.shape != scores.shape[1:2]:
        raise ValueError(
            f"scores must be [V, B, K] and clusters [B], got {list(scores.shape)} and "
            f"{list(clusters.shape)}"
        )
    return F.cross_entropy((scores / temperature).flatten(0, 1), clusters.repeat(len(scores)))


class ClusterPredictionLoss(nn.Module):
    """`cluster_prediction` with a temperature of its own."""

    def __init__(self, temperature: float = 0.1) -> None:  # 0.1: DeepCluster v2, code
        """Args: temperature: Above 0, and finite.

        Raises:
            ValueError: If the temperature is out of its range.
        """
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(self, scores: Tensor, clusters: Tensor) -> Tensor:
        """Computes `cluster_prediction` of `[V, B, K]` and `[B]`."""
        return cluster_prediction(scores, clusters, self.temperature)

    def extra_repr(self) -> str:
        """Shows the temperature."""
        return f"temperature={self.temperature}"


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be > 0 and finite, got {temperature}")


def check_sinkhorn(epsilon: float, iterations: int) -> None:
    """Refuses settings of `sinkhorn_codes` that make no codes.

    Args:
        epsilon: Above 0, and finite.
        iterations: At least 1.

    Raises:
        ValueError: If one is out of its range.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon must be > 0 and finite, got {epsilon}")
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}")
