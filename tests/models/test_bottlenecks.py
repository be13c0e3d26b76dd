from __future__ import annotations

import pytest
import torch

from super_selfish.models.bottlenecks import ChannelwiseLinear, LatentMap, bottleneck_grid
from tests.references import channelwise_linear_in_loops


def test_the_grid_is_that_of_the_map_up_to_a_largest_one() -> None:
    assert bottleneck_grid(3, 4) == (3, 4)
    assert bottleneck_grid(57, 7) == (8, 7)
    assert bottleneck_grid(57, 1, largest=2) == (2, 1)
    assert bottleneck_grid(None, None) == (1, 1)


def test_channelwise_linear_equals_the_loops(generator: torch.Generator) -> None:
    layer = ChannelwiseLinear(3, (2, 4))
    maps = torch.randn(2, 3, 2, 4, generator=generator)
    expected = channelwise_linear_in_loops(maps, layer.weight.detach(), layer.bias.detach())
    torch.testing.assert_close(layer(maps).detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_a_cell_reaches_all_cells_of_its_channel_and_no_other_channel(
    generator: torch.Generator,
) -> None:
    layer = ChannelwiseLinear(3, (4, 4))
    maps = torch.randn(1, 3, 4, 4, generator=generator)
    changed = maps.clone()
    changed[0, 1, 0, 0] += 1
    differs = (layer(maps) != layer(changed))[0]
    assert differs[1].all()
    assert not differs[[0, 2]].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (12, 16)])
def test_maps_of_any_size_fit(size: tuple[int, int]) -> None:
    assert ChannelwiseLinear(6, (4, 3))(torch.rand(2, 6, *size)).shape == (2, 6, 4, 3)
    assert LatentMap(6, 5, (4, 3))(torch.rand(2, 6, *size)).shape == (2, 5, 4, 3)


def test_latents_lie_between_minus_one_and_one(generator: torch.Generator) -> None:
    latents = LatentMap(6, 5, (4, 4))(100 * torch.randn(20, 6, 4, 4, generator=generator))
    assert latents.abs().max() <= 1
    assert latents.min() < -0.9
    assert latents.max() > 0.9


def test_latents_of_images_that_hardly_differ_spread_like_drawn_ones(
    generator: torch.Generator,
) -> None:
    maps = 5 + 0.1 * torch.randn(200, 6, 4, 4, generator=generator)
    latents = LatentMap(6, 5, (2, 2))(maps)
    drawn = 3**-0.5  # standard deviation of U(-1, 1)
    torch.testing.assert_close(latents.std(0), torch.full((5, 2, 2), drawn), rtol=0.15, atol=0)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels and grid must be >= 1, got 0 and \(2, 2\)"):
        ChannelwiseLinear(0, (2, 2))
    with pytest.raises(ValueError, match="must be >= 1, got 3, 0 and"):
        LatentMap(3, 0, (2, 2))


def test_weights_and_biases_begin_as_those_of_a_linear_layer() -> None:
    torch.manual_seed(0)
    layer = ChannelwiseLinear(32, (3, 4))
    for drawn in (layer.weight, layer.bias):
        assert drawn.abs().max() <= 12**-0.5
        assert drawn.abs().max() > 0.9 * 12**-0.5  # spread over the whole range
