from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from super_selfish.augmentations.low_resolution import LowResolution, SmallerSizes
from tests.references import largest_uniform_deviation


def test_it_shrinks_and_enlarges_as_torch_does(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 12, 20, generator=generator)
    heights, widths = torch.tensor([2, 5, 12, 11]), torch.tensor([20, 7, 20, 2])
    made = LowResolution().apply(images, SmallerSizes(heights, widths))
    for number in range(4):
        one = images[number : number + 1]
        size = (int(heights[number]), int(widths[number]))
        small = nn.functional.interpolate(one, size=size, mode="bilinear", antialias=True)
        large = nn.functional.interpolate(small, size=(12, 20), mode="bilinear", antialias=True)
        torch.testing.assert_close(made[number : number + 1], large, atol=1e-5, rtol=0)
    torch.testing.assert_close(made[2], images[2])


def test_areas_are_uniform_between_the_papers_bounds(generator: torch.Generator) -> None:
    sizes = LowResolution().draw((20_000, 3, 9600, 4800), generator)
    torch.testing.assert_close(sizes.heights / 9600, sizes.widths / 4800, atol=2e-4, rtol=0)
    areas = (sizes.heights / 100).double().square()  # of 96 x 96 pixels
    assert largest_uniform_deviation(areas, 10.0**2, 95.0**2) < 0.02


def test_a_pixel_is_left_of_the_smallest_patches(generator: torch.Generator) -> None:
    sizes = LowResolution(0.01, 0.02).draw((50, 3, 8, 8), generator)
    assert sizes.heights.tolist() == sizes.widths.tolist() == [1] * 50
    image = torch.rand(50, 3, 8, 8, generator=generator)
    flat: Tensor = LowResolution().apply(image, sizes)
    assert float((flat.amax(dim=(2, 3)) - flat.amin(dim=(2, 3))).max()) < 1e-6
    torch.testing.assert_close(flat.mean(), image.mean(), atol=2e-3, rtol=0)


def test_of_small_patches_some_pixels_are_left(generator: torch.Generator) -> None:
    sizes = LowResolution(least=10).draw((500, 3, 12, 8), generator)
    assert sizes.heights.unique().tolist() == [10, 11, 12]
    assert sizes.widths.unique().tolist() == [8]  # which has no more
    large = LowResolution(least=10).draw((500, 3, 96, 96), generator)
    assert large.heights.min() >= 10 and large.heights.median() > 60  # as without


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_sides_that_are_no_fractions_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="sides need 0 < low <= high <= 1"):
        LowResolution(low, high)
