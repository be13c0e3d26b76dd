"""Players of full connection, for small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models.dense_players import DenseGenerator, dense_discriminator


def test_images_are_made_of_latents_of_any_form() -> None:
    generator = DenseGenerator(8, (2, 5, 7))
    images = generator(torch.rand(3, 2, 2, 2)).detach()
    assert images.shape == (3, 2, 5, 7)
    assert 0 < float(images.min()) <= float(images.max()) < 1
    linear = [m for m in generator if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(8, 256), (256, 512), (512, 70)]
    assert [m.bias is None for m in linear] == [True, True, False]  # norms bring their own


def test_pixels_are_judged_between_minus_one_and_one() -> None:
    judge = dense_discriminator(4, (1, 2, 2))
    seen: list[torch.Tensor] = []
    judge.layers[0].register_forward_hook(lambda _, given, result: seen.append(given[0]))
    images = torch.tensor([[[[0.0, 0.5], [0.75, 1.0]]]])
    latents = torch.tensor([[[[0.1]], [[0.2]], [[0.3]], [[0.4]]]])
    assert judge(images, latents).shape == (1,)
    expected = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(seen[0], expected)


def test_nothing_is_made_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"^num_latents and shape must be >= 1, got 0 and \(1, "):
        DenseGenerator(0, (1, 2, 2))
    with pytest.raises(ValueError, match=r"^num_latents and shape must be >= 1, got 1 and \(0, "):
        DenseGenerator(1, (0, 2, 2))
