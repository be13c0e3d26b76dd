"""Noise-contrastive estimation: is this entry of the memory one's own, or noise?

A softmax over all images needs the sum over all of them. Here the sum is a constant `Z`, estimated
once, and every entry is a question of its own with two answers.

Wu, Xiong, Yu, Lin, 2018, arXiv 1805.01978, section 3.2.

Shapes: `B` batch, `D` embedding, `K` negatives (noise), `N` images in the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def noise_contrastive(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    log_normalizer: Tensor | float,
    num_images: int,
    exclude: Tensor | None = None,
) -> Tensor:
    """Binary NCE with uniform noise that the whole batch shares.

    With `P_i = exp(q.m_i / t) / Z` and `h_i = P_i / (P_i + K / N)`, the posterior of not being
    noise, it is `-log h(own) - sum_j log(1 - h_j)`, averaged over the batch (section
    3.2). Both terms are computed as logistic losses of `log P_i - log(K / N)`.

    Args:
        queries: `[B, D]`, unit vectors.
        keys: `[B, D]`, unit vectors, the own entry of each query.
        negatives: `[K, D]`, unit vectors.
        temperature: Above 0.
        log_normalizer: `log Z`, a scalar.
        num_images: `N`.
        exclude: `[B, K]`, bool, true where a shared negative is the query's own entry.

    Returns:
        Scalar, nats, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit, or a number is not above 0.
    """
    positive, negative = _similarities(queries, keys, negatives, temperature, exclude)
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, got {num_images}")
    shift = log_normalizer + math.log(len(negatives) / num_images)
    own = F.softplus(shift - positive)  # (B,): -log h
    noise = F.softplus(negative - shift).sum(dim=1)  # (B,); softplus of the excluded is 0
    return (own + noise).mean()


@in_full_precision
def estimate_log_normalizer(
    queries: Tensor,
    keys: Tensor,
    negatives: Tensor,
    temperature: float,
    num_images: int,
    exclude: Tensor | None = None,
) -> Tensor:
    """Monte Carlo estimate of `log Z`: `N` times the mean of `exp(q.m / t)` (section 3.2).

    Args:
        queries: `[B, D]`, unit vectors.
        keys: `[B, D]`, unit vectors, counted as in the authors' code.
        negatives: `[K, D]`, unit vectors.
        temperature: Above 0.
        num_images: `N`.
        exclude: `[B, K]`, bool, negatives that do not count.

    Returns:
        Scalar, without gradient.
    """
    with torch.no_grad():
        positive, negative = _similarities(queries, keys, negatives, temperature, exclude)
        exponents = torch.cat((positive[:, None], negative), dim=1)  # (B, 1 + K)
        number = torch.full_like(positive, 1.0 + len(negatives)).sum()
        if exclude is not None:
            number = number - exclude.sum()
        return exponents.flatten().logsumexp(dim=0) - number.log() + math.log(num_images)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    if temperature == math.inf:  # every similarity would be the same
        raise ValueError("temperature must be finite, got inf")


def _similarities(
    queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float, exclude: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Similarities over temperature, `(B,)` and `(B, K)`; hugely negative where excluded."""
    _check_temperature(temperature)
    if queries.ndim != 2 or queries.shape != keys.shape or len(queries) == 0:
        raise ValueError(
            f"queries and keys must be of one shape [B, D], got {list(queries.shape)} and "
            f"{list(keys.shape)}"
        )
    if negatives.ndim != 2 or negatives.shape[1] != queries.shape[1] or len(negatives) == 0:
        raise ValueError(
            f"negatives must be [K, {queries.shape[1]}] with K >= 1, got {list(negatives.shape)}"
        )
    scaled = queries / temperature
    positive = (scaled * keys).sum(dim=1)
    negative = scaled @ negatives.T
    if exclude is not None:
        if exclude.dtype != torch.bool or exclude.shape != negative.shape:
            raise ValueError(
                f"exclude must be bool {list(negative.shape)}, "
                f"got {exclude.dtype} {list(exclude.shape)}"
            )
        negative = negative.masked_fill(exclude, torch.finfo(negative.dtype).min)
    return positive, negative


class NCELoss(nn.Module):
    """`noise_contrastive` with a normaliser that the first batch in training fixes.

    So does the code of the authors (Wu et al., 2018); their paper approximates it by some batches.

    Attributes:
        log_normalizer: `log Z`, a persistent scalar buffer; minus infinity until it is known.
    """

    log_normalizer: Tensor

    def __init__(
        self,
        num_images: int,
        temperature: float = 0.07,  # section 4
        *,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Takes the constants.

        Args:
            num_images: `N`, entries of the memory.
            temperature: Above 0.
            gather: Puts a scalar of each process that trains together beside the others, so that
                the first batch of all of them fixes one normaliser for all; None for one process.

        Raises:
            ValueError: If a number is out of its range.
        """
        super().__init__()
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        _check_temperature(temperature)
        self.num_images = num_images
        self.temperature = temperature
        self.gather = gather
        self.register_buffer("log_normalizer", torch.tensor(-math.inf))

    def forward(
        self, queries: Tensor, keys: Tensor, negatives: Tensor, exclude: Tensor | None = None
    ) -> Tensor:
        """Computes `noise_contrastive` of `[B, D]`, `[B, D]` and `[K, D]` (`exclude`: `[B, K]`).

        Before the first batch in training, the normaliser is that of the batch itself.
        """
        estimate = estimate_log_normalizer(
            queries, keys, negatives, self.temperature, self.num_images, exclude
        )
        if self.training and self.gather is not None:
            estimates = self.gather(estimate)  # (W,), one of each process
            estimate = estimates.logsumexp(dim=0) - math.log(len(estimates))
        # Estimated at every step, at little cost: to ask whether it is known would wait for the
        # device.
        former = self.log_normalizer
        known = torch.where(former.isinf(), estimate.to(former), former)
        if self.training:
            self.log_normalizer.copy_(known)
        return noise_contrastive(
            queries, keys, negatives, self.temperature, known, self.num_images, exclude
        )

    def extra_repr(self) -> str:
        """Shows the constants."""
        return f"num_images={self.num_images}, temperature={self.temperature}"
