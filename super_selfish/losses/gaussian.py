"""LeJEPA: views agree with their centre, and embeddings are an isotropic Gaussian's (SIGReg).

Shapes: `N` images of all processes, `V` views of an image, `D` embedding, `M` directions.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from super_selfish.losses.full_precision import in_full_precision


@in_full_precision
def sigreg(
    embeddings: Tensor, directions: Tensor, num_knots: int = 17, extent: float = 3.0
) -> Tensor:
    """How far embeddings are from a standard normal distribution, seen from many directions.

    The statistic of Epps and Pulley of what each direction sees, averaged over directions: with
    `u_n = a.z_n` and the normal's characteristic function `f(t) = exp(-t^2 / 2)`, the integral over
    `|t| < extent` of `N |mean_n exp(i t u_n) - f(t)|^2 f(t)`. Balestriero and LeCun, 2025, arXiv
    2511.08544, section 4 and algorithm 1; both halves of the integral are the same, so that the
    trapezoids of the positive half count twice, as in the authors' minimal example.

    Of `N` embeddings that are drawn of a standard normal distribution it is 1.05 on average,
    whatever `N`; where all are 0 it is `0.402 N`.

    Args:
        embeddings: `[N, D]`, or `[V, N, D]` for the mean over views, each by itself.
        directions: `[D, M]`, unit vectors.
        num_knots: Points of the positive half, with both of its ends; at least 2.
        extent: Its end, above 0.

    Returns:
        Scalar, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or a number is out of its range.
    """
    check_knots(num_knots, extent)
    fits = embeddings.ndim in (2, 3) and directions.ndim == 2 and 0 not in embeddings.shape
    if not fits or embeddings.shape[-1] != len(directions) or directions.shape[1] == 0:
        raise ValueError(
            "embeddings must be [N, D] or [V, N, D] and directions [D, M], got "
            f"{list(embeddings.shape)} and {list(directions.shape)}"
        )
    seen = embeddings @ directions  # (V, N, M)
    distance: Tensor = _Distance.apply(seen, num_knots, extent)
    return embeddings.shape[-2] * distance


class _Distance(torch.autograd.Function):
    """The integral, averaged over views and directions, with its gradient in the same pass.

    Points lie evenly, so cosines and sines of one are products of those of the point before and of
    the first (the sum of two angles): a fraction of the time of as many calls of `cos` and `sin`,
    and nothing is kept for the way back but the gradient.
    """

    @staticmethod
    def forward(ctx: Any, seen: Tensor, num_knots: int, extent: float) -> Tensor:
        width = extent / (num_knots - 1)
        first_cosine, first_sine = (width * seen).cos(), (width * seen).sin()  # (V, N, M)
        cosine, sine = first_cosine, first_sine
        gradient = torch.zeros_like(seen) if ctx.needs_input_grad[0] else None
        distance = seen.new_zeros(())
        for knot in range(1, num_knots):  # at 0 both functions are 1
            if knot > 1:
                cosine, sine = (
                    (cosine * first_cosine).addcmul_(sine, first_sine, value=-1),
                    (sine * first_cosine).addcmul_(cosine, first_sine),
                )
            t = knot * width
            normal = math.exp(-t * t / 2)
            share = normal * (width if knot == num_knots - 1 else 2 * width)
            real = cosine.mean(dim=-2, keepdim=True) - normal  # (V, 1, M)
            imaginary = sine.mean(dim=-2, keepdim=True)  # (V, 1, M)
            distance += share * (real.square() + imaginary.square()).mean()
            if gradient is not None:
                factor = 2 * share * t / seen.numel()
                gradient.addcmul_(cosine, imaginary, value=factor)
                gradient.addcmul_(sine, real, value=-factor)
        ctx.save_for_backward(gradient)
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None, None


def agreement_with_centre(embeddings: Tensor, num_large: int) -> Tensor:
    """Mean squared distance of the numbers of all views from those of their image's centre.

    Args:
        embeddings: `[V, N, D]`.
        num_large: How many of the views, the first ones, make the centre.

    Returns:
        Scalar.
    """
    return (embeddings - embeddings[:num_large].mean(dim=0)).square().mean()


@in_full_precision
def lejepa(
    embeddings: Tensor,
    directions: Tensor,
    num_large: int,
    sigreg_weight: float = 0.05,
    num_knots: int = 17,
    extent: float = 3.0,
) -> Tensor:
    """Views near the centre of their image, all images a Gaussian.

    `(1 - w) mean((z - centre)^2) + w sigreg(z)`. Balestriero and LeCun, 2025, arXiv 2511.08544,
    algorithm 2. The centre is that of the large views, and has a gradient.

    Args:
        embeddings: `[V, N, D]`, of all processes, large views first.
        directions: `[D, M]`, unit vectors.
        num_large: Large views, at least 1.
        sigreg_weight: In [0, 1]; the paper's lambda.
        num_knots: See `sigreg`.
        extent: See `sigreg`.

    Returns:
        Scalar, in float32 (float64 for float64).

    Raises:
        ValueError: If shapes do not fit or a number is out of its range.
    """
    _check_weight(sigreg_weight)
    if embeddings.ndim != 3 or not 1 <= num_large <= len(embeddings):
        raise ValueError(
            "embeddings must be [V, N, D] and num_large at least 1 and at most V, got "
            f"{list(embeddings.shape)} and {num_large}"
        )
    statistic = sigreg(embeddings, directions, num_knots, extent)
    invariance = agreement_with_centre(embeddings, num_large)
    return (1 - sigreg_weight) * invariance + sigreg_weight * statistic


class LeJEPALoss(nn.Module):
    """`lejepa` with numbers of its own."""

    def __init__(
        self,
        sigreg_weight: float = 0.05,  # section 5
        num_knots: int = 17,  # algorithm 1
        extent: float = 3.0,  # minimal example
    ) -> None:
        """Args: as `lejepa`.

        Raises:
            ValueError: If a number is out of its range.
        """
        super().__init__()
        _check_weight(sigreg_weight)
        check_knots(num_knots, extent)
        self.sigreg_weight = sigreg_weight
        self.num_knots = num_knots
        self.extent = extent

    def forward(self, embeddings: Tensor, directions: Tensor, num_large: int) -> Tensor:
        """Computes `lejepa` of `[V, N, D]` and `[D, M]`."""
        return lejepa(
            embeddings, directions, num_large, self.sigreg_weight, self.num_knots, self.extent
        )

    def extra_repr(self) -> str:
        """Shows the numbers."""
        return (
            f"sigreg_weight={self.sigreg_weight}, num_knots={self.num_knots}, extent={self.extent}"
        )


def check_knots(num_knots: int, extent: float) -> None:
    """Refuses what makes no integral.

    Args:
        num_knots: At least 2.
        extent: Above 0, and finite.

    Raises:
        ValueError: If one is out of its range.
    """
    try:
        is_enough = operator.index(num_knots) >= 2
    except TypeError:
        is_enough = False
    if not is_enough:
        raise ValueError(f"num_knots must be a whole number of at least 2, got {num_knots}")
    if not 0 < extent < math.inf:
        raise ValueError(f"extent must be > 0 and finite, got {extent}")


def draw_directions(size: int, number: int, generator: torch.Generator) -> Tensor:
    """Random unit vectors, in all directions alike.

    Args:
        size: `D`.
        number: `M`.
        generator: CPU generator.

    Returns:
        `[D, M]`, on the CPU.
    """
    drawn = torch.randn(size, number, generator=generator)
    return drawn / drawn.norm(dim=0)


def _check_weight(sigreg_weight: float) -> None:
    if not 0 <= sigreg_weight <= 1:
        raise ValueError(f"sigreg_weight must be in [0, 1], got {sigreg_weight}")
