from __future__ import annotations

import pytest
import torch

from super_selfish.augmentations.noise import (
    PixelDropout,
    RandomGaussianNoise,
    add_gaussian_noise,
    draw_keep_mask,
    drop_pixels,
)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_all_channels_of_a_dropped_pixel_are_filled(
    channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(4, channels, 7, 10, generator=generator) + 1
    augmentation = PixelDropout(0.4, fill=-1.0)
    drawn = augmentation.draw((4, channels, 7, 10), generator)
    views = augmentation.apply(images, drawn)
    dropped = ~drawn.keep_mask.expand_as(images)
    assert torch.equal(views[~dropped], images[~dropped])
    assert (views[dropped] == -1).all()
    assert 0 < dropped.sum() < dropped.numel()


def test_fill_may_be_a_color() -> None:
    fill = torch.tensor([0.1, 0.2, 0.3])
    views = drop_pixels(torch.ones(2, 3, 4, 5), torch.zeros(2, 1, 4, 5, dtype=torch.bool), fill)
    assert torch.equal(views, fill.view(1, 3, 1, 1).expand(2, 3, 4, 5))


@pytest.mark.parametrize("p", [0.0, 2**-16, 0.1, 0.5, 0.7, 1.0])
def test_pixels_are_dropped_with_the_stated_probability(
    p: float, generator: torch.Generator
) -> None:
    mask = draw_keep_mask((50, 3, 101, 99), p, generator)
    assert mask.shape == (50, 1, 101, 99)
    deviation = (p * (1 - p) / mask.numel()) ** 0.5
    assert (~mask).double().mean().item() == pytest.approx(p, abs=4 * deviation)
    if p in (0.0, 1.0):
        assert bool((mask == (p == 0.0)).all())


def test_neighbours_and_samples_are_dropped_independently(generator: torch.Generator) -> None:
    mask = draw_keep_mask((40, 1, 100, 100), 0.5, generator).double().flatten() * 2 - 1
    for distance in (1, 2, 3, 4, 100, 10000):
        correlation = (mask[:-distance] * mask[distance:]).mean().item()
        assert abs(correlation) < 4 / len(mask) ** 0.5


def test_probability_zero_returns_the_images_and_equal_generators_equal_views(
    generator: torch.Generator,
) -> None:
    images = torch.rand(3, 3, 5, 9, generator=generator)
    assert torch.equal(PixelDropout(0.0)(images, generator), images)
    for augmentation in (PixelDropout(0.5), RandomGaussianNoise(0.0, 0.2)):
        first = augmentation(images, torch.Generator().manual_seed(5))
        assert torch.equal(first, augmentation(images, torch.Generator().manual_seed(5)))
        assert not torch.equal(first, augmentation(images, torch.Generator().manual_seed(6)))


def test_gaussian_noise_has_the_stated_strength_per_sample(generator: torch.Generator) -> None:
    images = torch.full((3, 3, 60, 50), 0.5)
    sigmas = torch.tensor([0.0, 0.02, 0.1])
    noise = torch.randn(images.shape, generator=generator)
    noisy = add_gaussian_noise(images, noise, sigmas)
    assert torch.equal(noisy[0], images[0])
    torch.testing.assert_close(noisy.std(dim=(1, 2, 3)), sigmas, rtol=0.03, atol=1e-6)
    torch.testing.assert_close(noisy.mean(dim=(1, 2, 3)), torch.full((3,), 0.5), rtol=0, atol=4e-3)


def test_noisy_images_stay_in_range_and_the_input_stays(generator: torch.Generator) -> None:
    images = torch.rand(4, 5, 6, 7, generator=generator)
    before = images.clone()
    noisy = RandomGaussianNoise(1.0, 2.0)(images, generator)
    assert noisy.min() == 0
    assert noisy.max() == 1
    assert torch.equal(images, before)
    sigmas = RandomGaussianNoise(1.0, 2.0).draw((4000, 1, 1, 1), generator).sigmas
    assert 1.0 <= sigmas.min() < 1.01
    assert 1.99 < sigmas.max() <= 2.0


def test_wrong_parameters_are_refused() -> None:
    images = torch.zeros(2, 3, 4, 5)
    with pytest.raises(TypeError, match="keep_mask must be bool"):
        drop_pixels(images, torch.ones(2, 1, 4, 5))
    with pytest.raises(ValueError, match=r"keep_mask must be \(2, 1, 4, 5\)"):
        drop_pixels(images, torch.ones(2, 3, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"fill must be a number or \(3,\)"):
        drop_pixels(images, torch.ones(2, 1, 4, 5, dtype=torch.bool), torch.zeros(2))
    with pytest.raises(ValueError, match="need noise of the same shape"):
        add_gaussian_noise(images, torch.zeros(2, 1, 4, 5), torch.ones(2))
    with pytest.raises(ValueError, match="p is a probability"):
        PixelDropout(1.5)
    with pytest.raises(ValueError, match="noise needs"):
        RandomGaussianNoise(0.2, 0.1)
