from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models import ImageDecoder


@pytest.mark.parametrize(
    ("size", "map_size", "doublings"),
    [
        ((224, 224), (7, 7), 5),
        ((225, 225), (8, 8), 5),
        ((32, 32), (2, 2), 4),
        ((33, 70), (3, 5), 4),
        ((64, 64), (1, 1), 6),
        ((8, 8), (4, 4), 1),
        ((8, 8), (8, 8), 0),
        ((6, 6), (8, 8), 0),
    ],
)
def test_the_image_has_exactly_its_size(
    size: tuple[int, int], map_size: tuple[int, int], doublings: int
) -> None:
    decoder = ImageDecoder(6, 3, (8, 7, 5, 4), size=size, map_size=map_size)
    assert decoder.doublings == doublings
    assert decoder(torch.rand(2, 6, *map_size)).shape == (2, 3, *size)


def test_the_number_of_doublings_is_that_of_the_widths_if_sizes_are_unknown() -> None:
    assert ImageDecoder(6, 3, (5, 4))(torch.rand(2, 6, 2, 3)).shape == (2, 3, 16, 24)
    assert ImageDecoder(6, 3, (5, 4), size=(10, 11))(torch.rand(2, 6, 2, 3)).shape[2:] == (10, 11)


@pytest.mark.parametrize(
    ("doublings", "widths"),
    [(5, [4, 3, 2, 1]), (3, [2, 1]), (1, []), (6, [4, 4, 3, 2, 1])],
)
def test_the_narrow_layers_are_next_to_the_image(doublings: int, widths: list[int]) -> None:
    size = (2**doublings,) * 2
    decoder = ImageDecoder(6, 9, (4, 3, 2, 1), size=size, map_size=(1, 1))
    convolutions = [m for m in decoder.layers if isinstance(m, nn.ConvTranspose2d)]
    assert [conv.out_channels for conv in convolutions] == [*widths, 9]
    assert all(conv.kernel_size == (4, 4) and conv.stride == (2, 2) for conv in convolutions)


def test_the_last_layer_is_plain() -> None:
    # B12 of release 0.0.6: a decoder that ends in a norm and a ReLU cannot give every pixel.
    layers = ImageDecoder(6, 3).layers
    assert isinstance(layers[-1], nn.ConvTranspose2d)
    assert [type(layer) for layer in layers[:3]] == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]


def test_every_parameter_gets_a_gradient() -> None:
    decoder = ImageDecoder(6, 3, (5, 4), size=(15, 15), map_size=(2, 2))
    decoder(torch.rand(2, 6, 2, 2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in decoder.parameters())


def test_the_decoder_wants_a_map() -> None:
    assert ImageDecoder.wants_map


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be >= 1, got 6, 0 and \(4,\)$"):
        ImageDecoder(6, 0, (4,))
    with pytest.raises(ValueError, match=r"must be >= 1, got 6, 3 and \(\)$"):
        ImageDecoder(6, 3, ())
    with pytest.raises(ValueError, match=r"^sizes must be >= 1, got size \(0, 4\) and map_size"):
        ImageDecoder(6, 3, size=(0, 4))


def test_before_learning_it_gives_about_what_it_starts_with() -> None:
    images = ImageDecoder(16, 3, size=(32, 32), map_size=(2, 2), start=0.5)(torch.rand(4, 16, 2, 2))
    assert (images - 0.5).abs().mean() < 0.15
