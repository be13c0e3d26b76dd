from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models.discriminators import (
    DiscriminatorFeatures,
    ImageDiscriminator,
    PairDiscriminator,
)


@pytest.mark.parametrize(
    ("size", "layers"),
    [((3, 5), 1), ((32, 32), 3), ((33, 70), 3), ((64, 64), 4), ((96, 128), 4), ((225, 225), 5)],
)
def test_layers_follow_the_size(size: tuple[int, int], layers: int) -> None:
    network = DiscriminatorFeatures(3, size, channels=(2, 3, 4))
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == layers
    assert network(torch.rand(2, 3, *size)).shape == (2, network.num_features)


def test_first_and_last_layers_are_free_of_norms() -> None:
    network = ImageDiscriminator(3, (32, 32))
    first, after_first = list(network.features.layers)[:2]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(after_first, nn.LeakyReLU)
    assert list(network.children())[-1] is network.logits
    assert isinstance(network.logits, nn.Linear)


@pytest.mark.parametrize("number", [1, 2])
def test_the_smallest_batches_are_judged(number: int) -> None:
    logits = ImageDiscriminator(1, (32, 40))(torch.rand(number, 1, 32, 40))
    assert logits.shape == (number,)
    assert torch.isfinite(logits).all()


def test_a_pair_is_judged_by_both_its_parts(generator: torch.Generator) -> None:
    network = PairDiscriminator(nn.Flatten(), 12, 18).eval()
    images = torch.rand(4, 3, 2, 2, generator=generator)
    latents = torch.rand(4, 2, 3, 3, generator=generator)
    logits = network(images, latents)
    assert logits.shape == (4,)
    assert (logits != network(images.flip(0), latents)).all()
    assert (logits != network(images, latents.flip(0))).all()


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="in_channels, image_size and channels must be >= 1"):
        DiscriminatorFeatures(0, (8, 8))
    with pytest.raises(ValueError, match="num_features, num_latents and hidden must be >= 1"):
        PairDiscriminator(nn.Flatten(), 12, 0)


def test_without_a_norm_an_image_is_judged_by_itself(generator: torch.Generator) -> None:
    network = DiscriminatorFeatures(3, (32, 32), channels=(2, 3, 4), norm=False)
    images = torch.rand(4, 3, 32, 32, generator=generator)
    torch.testing.assert_close(network(images)[:2], network(images[:2]))
