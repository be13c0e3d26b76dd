from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as reference

from super_selfish.augmentations.filters import (
    RandomGaussianBlur,
    blur_kernel_size,
    gaussian_blur,
    gaussian_kernels,
)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 3), (32, 32, 9), (20, 33, 7), (33, 20, 23), (8, 9, 1), (48, 40, None)],
)
def test_blur_agrees_with_torchvision_sample_by_sample(
    channels: int, height: int, width: int, size: int | None, generator: torch.Generator
) -> None:
    images = torch.rand(4, channels, height, width, generator=generator)
    sigmas = torch.tensor([0.1, 0.7, 2.0, 5.0])
    taps = size or blur_kernel_size(height, width)
    expected = [
        reference.gaussian_blur(x, [taps, taps], s)
        for x, s in zip(images, sigmas.tolist(), strict=True)
    ]
    result = gaussian_blur(images, sigmas, size)
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("side", "size"), [(8, 3), (32, 3), (64, 7), (96, 9), (224, 23), (225, 23)]
)
def test_kernel_size_is_odd_and_a_tenth_of_the_shorter_side(side: int, size: int) -> None:
    assert blur_kernel_size(side, side) == size
    assert blur_kernel_size(side, side + 100) == size


def test_kernels_are_normal_densities_that_add_up_to_one() -> None:
    kernels = gaussian_kernels(torch.tensor([0.01, 1.5]), 21)
    torch.testing.assert_close(kernels.sum(1), torch.ones(2))
    assert kernels[0, 10] == 1
    density = torch.distributions.Normal(0.0, 1.5).log_prob(torch.arange(-10.0, 11.0)).exp()
    torch.testing.assert_close(kernels[1], density, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [3, 11])
def test_a_tiny_sigma_returns_the_image(size: int, generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 16, 12, generator=generator)
    torch.testing.assert_close(gaussian_blur(images, torch.full((3,), 0.05), size), images)


@pytest.mark.parametrize("size", [5, 11])
def test_flat_images_stay_flat(size: int) -> None:
    images = torch.full((2, 3, 16, 12), 0.3)
    torch.testing.assert_close(gaussian_blur(images, torch.tensor([0.5, 2.0]), size), images)


def test_chunks_do_not_matter(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    images, sigmas = torch.rand(5, 3, 8, 9, generator=generator), torch.linspace(0.2, 2, 5)
    whole = gaussian_blur(images, sigmas)
    monkeypatch.setattr("super_selfish.augmentations.chunks.PIXELS_PER_CHUNK", 2 * 8 * 9)
    torch.testing.assert_close(gaussian_blur(images, sigmas), whole)


def test_an_empty_batch_stays_empty() -> None:
    assert gaussian_blur(torch.zeros(0, 3, 40, 40), torch.zeros(0), 11).shape == (0, 3, 40, 40)


def test_random_blur_draws_sigmas_from_its_range_and_repeats(generator: torch.Generator) -> None:
    augmentation = RandomGaussianBlur()
    sigmas = augmentation.draw((5000, 3, 4, 4), generator).sigmas
    assert 0.1 <= sigmas.min() < 0.11
    assert 1.99 < sigmas.max() <= 2.0
    assert sigmas.mean().item() == pytest.approx(1.05, abs=0.03)
    images = torch.rand(4, 3, 32, 24, generator=generator)
    before = images.clone()
    drawn = augmentation.draw((4, 3, 32, 24), torch.Generator().manual_seed(2))
    views = augmentation(images, torch.Generator().manual_seed(2))
    assert torch.equal(views, gaussian_blur(images, drawn.sigmas))
    assert torch.equal(images, before)


def test_wrong_parameters_are_refused() -> None:
    images = torch.zeros(2, 3, 8, 10)
    with pytest.raises(ValueError, match="sigmas must be > 0 pixels, got 0"):
        gaussian_blur(images, torch.zeros(2))
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        gaussian_blur(images, torch.ones(3))
    with pytest.raises(ValueError, match="odd"):
        gaussian_blur(images, torch.ones(2), 4)
    with pytest.raises(ValueError, match="a kernel of 17 pixels needs sides longer than 8"):
        gaussian_blur(images, torch.ones(2), 17)
    with pytest.raises(ValueError, match="sigma needs"):
        RandomGaussianBlur((0.0, 2.0))
    with pytest.raises(ValueError, match="odd"):
        RandomGaussianBlur(kernel_size=4)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_large_batch_is_blurred_as_its_samples_are(
    channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(43, channels, 40, 37, generator=generator)  # more than two of our blocks
    sigmas = 0.1 + 2.0 * torch.rand(43, generator=generator)
    expected = [gaussian_blur(images[i : i + 1], sigmas[i : i + 1], 9) for i in range(43)]
    torch.testing.assert_close(gaussian_blur(images, sigmas, 9), torch.cat(expected))


def test_a_blur_is_differentiable(generator: torch.Generator) -> None:
    images = torch.rand(2, 1, 12, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    sigmas = torch.tensor([0.5, 1.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: gaussian_blur(x, sigmas, 5), images, fast_mode=True)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch's own, on every such switch
def test_a_blur_is_the_same_without_onednn(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 40, 36, generator=generator)
    sigmas = torch.tensor([0.3, 1.0, 2.0])
    expected = gaussian_blur(images, sigmas, 9)
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(gaussian_blur(images, sigmas, 9), expected)


def test_a_blur_works_amid_inference_and_autocast(generator: torch.Generator) -> None:
    images = torch.rand(3, 3, 40, 36, generator=generator)
    sigmas = torch.tensor([0.3, 1.0, 2.0])
    expected = gaussian_blur(images, sigmas, 9)
    with torch.inference_mode():
        torch.testing.assert_close(gaussian_blur(images, sigmas, 9), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # convolutions round there, as anywhere
        rounded = gaussian_blur(images, sigmas, 9).float()
    torch.testing.assert_close(rounded, expected, atol=1e-2, rtol=0)
