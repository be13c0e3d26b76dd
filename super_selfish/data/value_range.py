"""Which numbers are black and which are white, where the type of an image does not say it.

12 bits in a file of 16 lie between 0 and 0.06 of its type's range: black squares. Reflectances
reach beyond 1, Hounsfield units below 0. A `ValueRange` maps (low, high) to black and white; what
lies outside is cut, as in the windows of radiologists.

Shapes: `C, H, W` channels, height, width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from super_selfish.training.counting import plural

Bound = float | Sequence[float]  # one for all channels, or one each
Range = tuple[Bound, Bound] | Literal["percentile", "bits"] | None

WHITE = {torch.uint8: 255.0, torch.uint16: 65535.0}
_FEW = 4  # channels of which each range is told
_WIDE = (torch.int32, torch.int64, torch.float64)  # float32 would round their numbers
_SHORT = (torch.uint16, torch.int16, torch.int8)


class NoImageError(ValueError):
    """The numbers of one image can be none: not finite, or outside of the range of all."""


class ValueRange(NamedTuple):
    """Numbers that are black and white.

    Attributes:
        low: Black; one number, or one a channel.
        high: White; the same.
        is_strict: Whether a number outside is an error instead of being cut.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    is_strict: bool = False

    @property
    def plain(self) -> tuple[Any, Any]:
        """As a user writes it: `(low, high)`, of numbers or of tuples."""
        low, high = (b[0] if len(b) == 1 else b for b in (self.low, self.high))
        return low, high

    def __str__(self) -> str:
        """In words: "-1000 to 400"."""
        if len(self.low) == 1:
            return f"{self.low[0]:g} to {self.high[0]:g}"
        if len(self.low) > _FEW:
            return (
                f"{min(self.low):g} to {max(self.high):g} at most, in each of {len(self.low)} "
                "channels a range of its own,"
            )
        parts = [f"{low:g} to {high:g}" for low, high in zip(self.low, self.high, strict=True)]
        return "; ".join(parts) + " (channel by channel)"

    def apply(self, images: Tensor) -> Tensor:
        """Brings numbers to images.

        8 bits stay 8, and integers of 16 bits stay 16, where so many steps lose no level that lies
        in the range. All others become float32.

        Args:
            images: `[..., C, H, W]`, real numbers.

        Returns:
            The same shape; uint8, uint16 or float32 in [0, 1].

        Raises:
            ValueError: A number is not finite, or lies outside where that is an error, or there
                are more or fewer channels than bounds.
        """
        if len(self.low) not in (1, images.shape[-3]):
            raise ValueError(
                f"value_range has bounds for {plural(len(self.low), 'channel')}, but the image has "
                f"{images.shape[-3]}"
            )
        white = WHITE.get(images.dtype)
        if white is not None and self.low == (0.0,) and self.high == (white,):
            return images
        target = self._steps_for(images.dtype)
        wide = torch.float64 if images.dtype in _WIDE else torch.float32
        values = images.to(wide, copy=True)
        if images.dtype.is_floating_point:
            self._require_finite(values)
        if self.is_strict:
            self._require_inside(values)
        low = torch.tensor(self.low, dtype=wide)[:, None, None]
        high = torch.tensor(self.high, dtype=wide)[:, None, None]
        values = values.sub_(low).div_(high - low).clamp_(0, 1)
        if target == torch.float32:
            return values.to(torch.float32)
        steps = values.mul_(WHITE[target]).round_().to(torch.int32)
        return steps.to(target)

    def _steps_for(self, dtype: torch.dtype) -> torch.dtype:
        """The smallest type of images whose steps lose no level of these numbers."""
        width = max(high - low for low, high in zip(self.low, self.high, strict=True))
        if dtype == torch.uint8 and width <= WHITE[torch.uint8]:
            return torch.uint8
        is_short = dtype == torch.uint8 or dtype in _SHORT
        return torch.uint16 if is_short and width <= WHITE[torch.uint16] else torch.float32

    def _require_finite(self, values: Tensor) -> None:
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NoImageError("images must be finite, got NaN or infinity: fill such pixels first")

    def _require_inside(self, values: Tensor) -> None:
        low, high = (float(bound) for bound in torch.aminmax(values))
        if low < min(self.low) or high > max(self.high):
            raise ValueError(
                f"the images looked at lay in {self}, but this one has {low:g} to {high:g}: give "
                f"value_range=({min(low, *self.low):g}, {max(high, *self.high):g})"
            )


WantedRange = ValueRange | Literal["percentile", "bits"] | None  # the same, checked


def parse_value_range(value_range: Any) -> WantedRange:
    """Checks the option `value_range`.

    Args:
        value_range: `(low, high)`, of numbers or of sequences with a number for each channel;
            "percentile", "bits" or `None`.

    Raises:
        ValueError: It is none of these, or black is not below white.
    """
    if value_range is None or isinstance(value_range, ValueRange):
        return value_range
    if isinstance(value_range, str) and value_range in ("percentile", "bits"):
        return value_range  # type: ignore[return-value]
    expected = (
        "value_range must be (low, high), the numbers that are black and white, 'percentile' or "
        f"'bits', got {value_range!r}"
    )
    if isinstance(value_range, str):
        raise ValueError(expected)
    try:
        low, high = (_bounds(bound) for bound in value_range)
    except (TypeError, ValueError) as error:
        raise ValueError(expected) from error
    length = max(len(low), len(high))
    low, high = (bound * length if len(bound) == 1 else bound for bound in (low, high))
    if len(low) != len(high) or not length:
        raise ValueError(f"value_range must have as many low as high bounds, got {value_range!r}")
    if not all(math.isfinite(b) and math.isfinite(w) and b < w for b, w in zip(low, high)):  # noqa: B905
        raise ValueError(f"value_range must be finite numbers with low < high, got {value_range!r}")
    return ValueRange(low, high)


def _bounds(bound: Any) -> tuple[float, ...]:
    if isinstance(bound, Tensor | np.ndarray):
        bound = bound.tolist()
    return tuple(map(float, bound)) if hasattr(bound, "__len__") else (float(bound),)
