"""Logistic regression with an L2 penalty, solved rather than trained.

Rows with one class each make one multinomial problem; rows with several make a problem of two
classes for each of them, with the same penalty.

L-BFGS takes hundreds of steps on the features of a network, because a few directions carry nearly
all of their variance. So it works in other coordinates: along the principal axes of the features,
each scaled by the curvature that the loss has there. The minimum is the same, the way is short.

Shapes: `N` rows, `D` features, `R` principal axes, `Y` classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# A feature whose standard deviation is below this share of its mean is constant up to rounding.
_DEAD = 1e-6


class Standardisation(NamedTuple):
    """Shift and scale of every feature, learned from training rows."""

    mean: Tensor  # [D]
    scale: Tensor  # [D], 1 / standard deviation, and 0 for a feature that never changes

    def __call__(self, features: Tensor) -> Tensor:
        """Standardises `[N, D]`; features that were constant in training become zero."""
        return (features.float() - self.mean) * self.scale


class LinearClassifier(NamedTuple):
    """Weights of a linear layer."""

    weights: Tensor  # [Y, D]
    bias: Tensor  # [Y]

    def __call__(self, features: Tensor) -> Tensor:
        """Logits `[N, Y]` of features `[N, D]`."""
        return F.linear(features, self.weights, self.bias)


def fit_standardisation(features: Tensor) -> Standardisation:
    """Learns mean and standard deviation of every feature.

    Args:
        features: `[N, D]`.

    Returns:
        The shift and scale; a feature that is constant up to rounding gets scale 0.
    """
    std, mean = torch.std_mean(features.float(), dim=0, correction=0)  # [D], [D]
    is_dead = std <= _DEAD * mean.abs()  # holds for a feature that is always 0, too
    return Standardisation(mean, torch.where(is_dead, 0.0, 1.0 / std.masked_fill(is_dead, 1.0)))


class LogisticRegression:
    """Minimises mean cross-entropy + regularization / 2 * ||weights||^2 for given rows.

    The bias is not penalised. scikit-learn's `C` is 1 / (regularization * N). Of targets `[N, Y]`,
    the binary cross-entropies are summed over the classes: that is `Y` independent regressions.
    """

    def __init__(self, features: Tensor, targets: Tensor, classes: int) -> None:
        """Finds the principal axes, once for every strength of the penalty.

        Args:
            features: `[N, D]` float32, standardised.
            targets: `[N]` int64, in [0, classes), or `[N, classes]`, zeros and ones.
            classes: Number of classes.
        """
        self.targets = targets if targets.dim() == 1 else targets.to(features)
        self.classes = classes
        self.variances, self.axes = _principal_axes(features)  # [R], [D, R]
        self.components = features @ self.axes  # [N, R]

    def fit(
        self,
        regularization: float,
        *,
        initial: LinearClassifier | None = None,
        max_iterations: int = 1000,
    ) -> LinearClassifier:
        """Solves for one strength of the penalty.

        Args:
            regularization: Strength, > 0; the minimum is then unique (the bias up to a constant).
            initial: Where to start, zero if `None`. The solution for a neighbouring strength saves
                most of the steps.
            max_iterations: Steps of L-BFGS at most.

        Returns:
            The classifier, in the coordinates of the features, without gradients.
        """
        weights = self.components.new_zeros(self.classes, self.components.shape[1])  # [Y, R]
        bias = self.components.new_zeros(self.classes)
        if initial is not None:  # rotated weights have the same norm, hence the same penalty
            weights, bias = initial.weights @ self.axes, initial.bias
        # Second derivative of the loss along an axis: variance times the mean of p (1 - p).
        p = self._probabilities(F.linear(self.components, weights, bias))
        curvature = (p * (1 - p)).mean().clamp(min=1e-6)
        scale = (curvature * self.variances + regularization).rsqrt()  # [R]
        bias_scale = curvature.rsqrt()

        scaled_weights = (weights / scale).requires_grad_()
        scaled_bias = (bias / bias_scale).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [scaled_weights, scaled_bias],
            max_iter=max_iterations,
            max_eval=2 * max_iterations,
            # The Hessian is near the identity: within about 1e-10 a weight of the least loss.
            tolerance_grad=1e-5,
            tolerance_change=1e-8,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            weights = scaled_weights * scale
            logits = F.linear(self.components, weights, scaled_bias * bias_scale)  # [N, Y]
            penalty = 0.5 * regularization * weights.square().sum()
            loss = self._loss(logits) + penalty
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return LinearClassifier(
            (scaled_weights.detach() * scale) @ self.axes.T, scaled_bias.detach() * bias_scale
        )

    def _probabilities(self, logits: Tensor) -> Tensor:
        """Of every class `[N, Y]`."""
        return logits.softmax(dim=1) if self.targets.dim() == 1 else logits.sigmoid()

    def _loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy of logits `[N, Y]`, averaged over the rows."""
        if self.targets.dim() == 1:
            return F.cross_entropy(logits, self.targets)
        summed = F.binary_cross_entropy_with_logits(logits, self.targets, reduction="sum")
        return summed / len(logits)


def _principal_axes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Second moments `[R]` of features `[N, D]` along their orthonormal axes `[D, R]`."""
    samples, width = features.shape
    if samples < width:  # N rows span no more than N axes, and are found much faster
        spread, axes = torch.linalg.svd(features.cpu().double(), full_matrices=False)[1:]
        return (spread.square() / samples).to(features), axes.T.to(features).contiguous()
    moments = (features.T @ features / samples).cpu().double()  # [D, D]
    variances, axes = torch.linalg.eigh(moments)  # [D] ascending, [D, D]
    return variances.clamp(min=0).to(features), axes.to(features)
