"""Images as networks eat them, whatever they come as."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from super_selfish.supervisors.predicting import unit_images


def same(value: Any) -> Tensor:
    return torch.full((2, 3, 4, 5), value)


@pytest.mark.parametrize(
    ("images", "value_range", "expected"),
    [
        (same(0.25), None, 0.25),
        (same(0.25).half(), None, 0.25),
        (same(0.25).double(), (0, 4095), 0.25),  # has been brought there already
        (same(1.0 + 1e-4), None, 1.0),
        (same(-1e-4), None, 0.0),
        (same(51).to(torch.uint8), None, 0.2),
        (same(255).to(torch.uint8), None, 1.0),
        (same(13107).to(torch.uint16), None, 0.2),
        (same(True), None, 1.0),
        (same(819), (0, 4095), 0.2),
        (same(-200).to(torch.int16), (-1000, 3000), 0.2),
    ],
)
def test_numbers_become_shares_of_white(images: Tensor, value_range: Any, expected: float) -> None:
    found = unit_images(images, 3, value_range)
    assert found.dtype == torch.float32 and found.shape == images.shape
    torch.testing.assert_close(found, same(expected), rtol=0, atol=1e-6)
    assert 0 <= float(found.min()) and float(found.max()) <= 1


def test_nothing_is_changed_in_place_and_no_images_are_fine() -> None:
    images = same(1.0 + 1e-4)
    assert float(unit_images(images, 3).max()) == 1 < float(images.max())
    whole = same(0.5)
    assert unit_images(whole, 3) is whole
    assert unit_images(whole[:0], 3).shape == (0, 3, 4, 5)
    numbers = same(51).to(torch.uint8)
    unit_images(numbers, 3)
    assert int(numbers[0, 0, 0, 0]) == 51


WRONG: list[tuple[Any, Any, type[Exception], str]] = [
    ("a.png", None, TypeError, "images must be a tensor [B, 3, H, W], got the text 'a.png': torch"),
    (np.zeros((2, 3, 4, 5)), None, TypeError, "[B, 3, H, W], got a ndarray: torch.from_numpy"),
    (same(0.5)[0], None, ValueError, "got shape [3, 4, 5]: images[None] makes a batch of one"),
    (same(0.5)[:, :1], None, ValueError, "images must be [B, 3, H, W], got shape [2, 1, 4, 5]"),
    (same(0.5)[None], None, ValueError, "got shape [1, 2, 3, 4, 5]"),
    (same(3), None, ValueError, "must be uint8, uint16 or float in [0, 1], got int64: images.to("),
    (same(1.5), None, ValueError, "got 1.5 to 1.5: divide numbers from 0 to 255 by 255, or give"),
    (same(-0.5), None, ValueError, "lie in [0, 1], got -0.5 to -0.5: divide"),
    (same(math.nan), None, ValueError, "must be finite and lie in [0, 1], got nan"),
    (same(math.inf), None, ValueError, "must be finite and lie in [0, 1], got inf"),
    (same(7.0), (2, 9), ValueError, "(images - low) / (high - low) with low=2, high=9, clamped"),
]


@pytest.mark.parametrize(("images", "value_range", "kind", "said"), WRONG)
def test_what_is_no_such_image_is_refused(
    images: Any, value_range: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=re.escape(said)) as caught:
        unit_images(images, 3, value_range)
    if kind is ValueError:
        assert ("images[None] makes" in str(caught.value)) == (images.ndim == 3)
