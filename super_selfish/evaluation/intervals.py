"""How sure a difference of two networks is: an interval that holds the true one in 95 % of cases.

Two things are a matter of luck: which images are tested, and what is drawn several times (the few
labels of a probe, or the seeds of training). Both networks are given the same of both, so both are
compared image by image and draw by draw.

Shapes: `E` draws or seeds, `M` test images.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

CONFIDENCE = 0.95
MINUS = "\N{MINUS SIGN}"


class Measured(NamedTuple):
    """A figure, with what its interval is made of.

    Attributes:
        values: `[E]` float64, of each draw or seed.
        influences: `[E, M]` of the test images on each of them, see `influences.py`.
    """

    values: Tensor
    influences: Tensor


class Interval(NamedTuple):
    """A difference and the ends of its interval, in [-1, 1]."""

    value: float
    low: float
    high: float

    @property
    def is_told(self) -> bool:
        """Whether it is more than chance makes: 0 is not in the interval."""
        return not self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        """In points, such as "+3.1 [+1.2, +5.0]"."""
        return f"{points(self.value)} [{points(self.low)}, {points(self.high)}]"


def points(change: float) -> str:
    """A difference of shares in points, such as "+3.1"."""
    return f"{100 * change:+.1f}".replace("-", MINUS)


def difference(after: Measured, before: Measured) -> Interval:
    """How much better one network is than another on the same images and draws.

    With d_e the difference of draw e and I_e its influences, the variance of the mean of all d_e is

        mean over e != f of <I_e, I_f> / M**2     by the images, which all draws share
        + variance over e of d_e / E              by the draws, each of which errs by itself.

    (With one draw: <I, I> / M**2 alone.) As few images leave it to luck whether any is answered
    differently at all, there are two more of which each network alone has one right, as proposed by
    Bonett and Price (2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data"). Each part has its own quantile of Student's t, with M - 1
    and E - 1 degrees of freedom, and the reach of the interval is the root of the sum of both
    reaches squared (Zou and Donner, 2008, "Construction of confidence limits about effect
    measures"): two draws say little of how draws differ, and make it wide.

    Args:
        after: Of the network that is rated.
        before: Of the one that it is compared with.

    Returns:
        Mean difference and interval.

    Raises:
        ValueError: If they are not of the same draws and images.
    """
    if after.influences.shape != before.influences.shape:
        raise ValueError(
            "both must be of the same draws and test images, got "
            f"{list(after.influences.shape)} and {list(before.influences.shape)}"
        )
    changes = after.values.double() - before.values.double()  # [E]
    influences = after.influences.double() - before.influences.double()  # [E, M]
    draws, images = influences.shape
    by_images = (images**2 * shared_covariance(influences, influences) + 2) / (images + 2) ** 2
    reach = _quantile(max(1, images - 1)) ** 2 * by_images
    if draws > 1:
        reach += of_seeds(changes.std().item(), draws) ** 2
    reach **= 0.5
    value = changes.mean().item()
    return Interval(value, value - reach, value + reach)


def of_seeds(deviation: float, number: int) -> float:
    """How far the mean of so many draws or seeds may be from that of very many.

    Args:
        deviation: Sample standard deviation of the draws.
        number: Of draws, >= 2.
    """
    return _quantile(number - 1) * deviation / number**0.5


def shared_covariance(first: Tensor, second: Tensor) -> float:
    """Covariance of two means over draws that comes of their common test images.

    Products of two different draws only, where there are two: what is in one draw alone counts as
    that draw's luck.

    Args:
        first: Influences `[E, M]`.
        second: As `first`.

    Returns:
        The covariance; of one with itself at least 0.
    """
    draws, images = first.shape
    products = first @ second.T / images**2  # [E, E]
    if draws == 1:
        return products.item()
    apart = (products.sum() - products.trace()).item() / (draws * (draws - 1))
    return max(0.0, apart) if first is second else apart


def _quantile(freedom: float) -> float:
    """Of Student's t, which it exceeds in 2.5 % of cases."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
