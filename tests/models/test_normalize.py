from __future__ import annotations

import pytest
import torch
from torch import nn

from super_selfish.models import Normalize, build_normalize


def test_channels_get_mean_zero_and_deviation_one(generator: torch.Generator) -> None:
    images = torch.rand(4, 2, 8, 8, generator=generator)
    deviation, mean = torch.std_mean(images, dim=(0, 2, 3))
    normalised = Normalize(mean.tolist(), deviation.tolist())(images)
    deviation, mean = torch.std_mean(normalised, dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones(2))


def test_imagenet_constants() -> None:
    normalise = Normalize.imagenet()
    torch.testing.assert_close(normalise.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(normalise.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))
    assert Normalize.imagenet(1).mean.flatten().tolist() == pytest.approx([0.449])
    assert Normalize.imagenet(5).std.flatten().tolist() == pytest.approx([0.226] * 5)


def test_constants_are_in_the_state() -> None:
    other = Normalize((0.0,), (1.0,))
    other.load_state_dict(Normalize((0.25,), (0.5,)).state_dict())
    assert other(torch.ones(1, 1, 1, 1)).item() == 1.5


def test_build_normalize_takes_word_pair_or_nothing(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 4, 4, generator=generator)
    assert isinstance(build_normalize(None, 3), nn.Identity)
    assert torch.equal(build_normalize("imagenet", 3)(images), Normalize.imagenet()(images))
    pair = ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert torch.equal(build_normalize(pair, 3)(images), Normalize(*pair)(images))


def test_wrong_constants_are_refused() -> None:
    with pytest.raises(ValueError, match=r'normalize is "imagenet", .* got \'cifar\''):
        build_normalize("cifar", 3)
    with pytest.raises(ValueError, match=r"images have 1 channels, but normalize has 3 means"):
        build_normalize(((0.0,) * 3, (1.0,) * 3), 1)
    with pytest.raises(TypeError, match=r'normalize is "imagenet", a pair'):
        build_normalize(0.5, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"every std must be > 0, got \(0.0,\)"):
        Normalize((0.0,), (0.0,))
    with pytest.raises(ValueError, match=r"expected images of 3 channels, .* got \[2, 1, 4, 4\]"):
        Normalize.imagenet()(torch.ones(2, 1, 4, 4))
