from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from super_selfish.augmentations.chunks import map_chunks, samples_per_chunk
from super_selfish.augmentations.color import (
    ColorMatrix,
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    apply_color_matrix,
    shift_hue,
    to_grayscale,
)
from super_selfish.augmentations.color_jitter import ColorJitter
from super_selfish.augmentations.jitter_maps import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    JitterParameters,
)
from super_selfish.augmentations.random_color import (
    RandomBrightness,
    RandomContrast,
    RandomGrayscale,
    RandomSaturation,
)

ADJUSTMENTS = [
    (adjust_brightness, reference.adjust_brightness),
    (adjust_contrast, reference.adjust_contrast),
    (adjust_saturation, reference.adjust_saturation),
]


def batch(generator: torch.Generator, channels: int = 3, count: int = 6) -> Tensor:
    return torch.rand(count, channels, 9, 14, generator=generator)


def torchvision_jitter(images: Tensor, drawn: JitterParameters, grayscale_first: bool) -> Tensor:
    """One image and one torchvision operation at a time."""
    results = []
    for i, image in enumerate(images):
        if grayscale_first and drawn.grayscale[i]:
            image = reference.rgb_to_grayscale(image, 3)
        for operation in drawn.order[i].tolist():
            if operation == BRIGHTNESS:
                image = reference.adjust_brightness(image, drawn.brightness[i].item())
            elif operation == CONTRAST:
                image = reference.adjust_contrast(image, drawn.contrast[i].item())
            elif operation == SATURATION and len(image) == 3:
                image = reference.adjust_saturation(image, drawn.saturation[i].item())
            elif operation == HUE and len(image) == 3:
                image = reference.adjust_hue(image, drawn.hue[i].item())
        if not grayscale_first and drawn.grayscale[i] and len(image) == 3:
            image = reference.rgb_to_grayscale(image, 3)
        results.append(image)
    return torch.stack(results)


@pytest.mark.parametrize(("ours", "theirs"), ADJUSTMENTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_adjustments_agree_with_torchvision(ours, theirs, channels, generator) -> None:  # type: ignore[no-untyped-def]
    images = batch(generator, channels)
    factors = torch.tensor([0.0, 0.3, 1.0, 1.4, 1.9, 3.0])
    expected = [theirs(x, f) for x, f in zip(images, factors.tolist(), strict=True)]
    torch.testing.assert_close(ours(images, factors), torch.stack(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("ours", "theirs"), ADJUSTMENTS)
def test_adjustments_of_torchvision_agree_in_float64(ours, theirs, generator) -> None:  # type: ignore[no-untyped-def]
    images = batch(generator).double()
    factors = torch.linspace(0.2, 1.7, 6, dtype=torch.float64)
    expected = [theirs(x, f) for x, f in zip(images, factors.tolist(), strict=True)]
    torch.testing.assert_close(ours(images, factors), torch.stack(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("ours", "theirs"), ADJUSTMENTS)
def test_factor_one_returns_the_image(ours, theirs, generator) -> None:  # type: ignore[no-untyped-def]
    images = batch(generator)
    assert torch.equal(ours(images, torch.ones(6)), images)


def test_hue_agrees_with_torchvision_where_channels_tie_and_where_pixels_are_gray(
    generator: torch.Generator,
) -> None:
    images = torch.cat((batch(generator), (batch(generator) * 3).floor() / 2))  # 0, 1/2, 1: ties
    images[6, :] = images[6, :1]  # a gray image
    shifts = torch.tensor([-0.5, -0.31, 0.0, 0.1, 0.25, 0.5] * 2)
    expected = [reference.adjust_hue(x, f) for x, f in zip(images, shifts.tolist(), strict=True)]
    torch.testing.assert_close(shift_hue(images, shifts), torch.stack(expected), atol=5e-6, rtol=0)


def test_hue_of_zero_returns_the_image(generator: torch.Generator) -> None:
    images = batch(generator)
    torch.testing.assert_close(shift_hue(images, torch.zeros(6)), images, atol=5e-6, rtol=0)


def test_a_third_of_a_turn_permutes_the_primaries() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).repeat(2, 1, 2, 2)
    turned = shift_hue(red, torch.tensor([1 / 3, -1 / 3]))
    expected = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(turned[:, :, 0, 0], expected, atol=1e-6, rtol=0)


def test_grayscale_agrees_with_torchvision_and_keeps_channels(generator: torch.Generator) -> None:
    images = batch(generator)
    torch.testing.assert_close(to_grayscale(images), reference.rgb_to_grayscale(images, 3))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_without_rgb_there_is_no_saturation_or_gray(
    channels: int, generator: torch.Generator
) -> None:
    images = batch(generator, channels)
    half = torch.full((6,), 0.5)
    assert torch.equal(adjust_saturation(images, half), images)
    assert torch.equal(to_grayscale(images), images)
    assert torch.equal(RandomGrayscale(1.0)(images, generator), images)


def test_with_five_channels_contrast_is_about_the_mean_of_all(generator: torch.Generator) -> None:
    images = batch(generator, 5) * 0.5 + 0.25
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    expected = 0.4 * images + 0.6 * mean
    torch.testing.assert_close(adjust_contrast(images, torch.full((6,), 0.4)), expected)


def test_composed_steps_equal_the_steps_one_by_one(generator: torch.Generator) -> None:
    images = batch(generator) * 0.2 + 0.4  # far from where anything clamps
    b, c, s, again = 0.8 + 0.4 * torch.rand(4, 6, generator=generator)
    chosen = torch.tensor([True, False, True, False, True, False])
    matrix = ColorMatrix.identity(6, 3).contrast(c).saturation(s).invert(chosen).brightness(b)
    matrix = matrix.contrast(again).grayscale(~chosen)
    steps = adjust_saturation(adjust_contrast(images, c), s)
    steps = torch.where(chosen.view(-1, 1, 1, 1), 1 - steps, steps)
    steps = adjust_contrast(adjust_brightness(steps, b), again)
    steps = torch.where(chosen.view(-1, 1, 1, 1), steps, to_grayscale(steps))
    torch.testing.assert_close(apply_color_matrix(images, matrix), steps, atol=1e-5, rtol=0)


def test_linear_steps_are_differentiable(generator: torch.Generator) -> None:
    images = (batch(generator, count=2) * 0.2 + 0.4).double().requires_grad_()
    factors = torch.tensor([0.9, 1.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: adjust_contrast(x, factors), images, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: adjust_saturation(x, factors), images, fast_mode=True)


@pytest.mark.parametrize("grayscale_first", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_torchvision_in_the_same_order_where_nothing_clamps(
    grayscale_first: bool, channels: int, generator: torch.Generator
) -> None:
    images = batch(generator, channels, 64) * 0.2 + 0.4
    jitter = ColorJitter(
        0.3, 0.3, 0.3, 0.5, p=0.8, p_grayscale=0.3, grayscale_first=grayscale_first
    )
    drawn = jitter.draw((64, channels, 9, 14), generator)
    if grayscale_first and channels == 1:
        drawn = drawn._replace(grayscale=torch.zeros(64, dtype=torch.bool))
    expected = torchvision_jitter(images, drawn, grayscale_first)
    torch.testing.assert_close(jitter.apply(images, drawn), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("grayscale_first", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strengths", [(0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0.8, 0.2), (2, 2, 2, 0.5)])
@pytest.mark.parametrize("in_place", [False, True])
def test_jitter_clamps_after_every_operation_as_torchvision_does(
    strengths: tuple[float, ...],
    channels: int,
    grayscale_first: bool,
    in_place: bool,
    generator: torch.Generator,
) -> None:
    images = batch(generator, channels, 160)
    jitter = ColorJitter(*strengths, p=0.8, p_grayscale=0.3, grayscale_first=grayscale_first)
    drawn = jitter.draw((160, channels, 9, 14), generator)
    if channels == 1:
        drawn = drawn._replace(grayscale=torch.zeros(160, dtype=torch.bool))
    expected = torchvision_jitter(images, drawn, grayscale_first)
    found = jitter.apply_(images.clone(), drawn) if in_place else jitter.apply(images, drawn)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_jitter_in_pieces_clamps_where_it_does_at_once(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever lies side by side in a chunk, and whatever gaps a map may have.
    images = batch(generator, count=60)
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8, p_grayscale=0.2)
    drawn = jitter.draw((60, 3, 9, 14), generator)
    expected = torchvision_jitter(images, drawn, False)
    for pixels, gap in ((9 * 14, 0), (7 * 9 * 14, 0), (2**17, 2 * 9 * 14), (2**17, 2**17)):
        monkeypatch.setattr("super_selfish.augmentations.chunks.PIXELS_PER_CHUNK", pixels)
        monkeypatch.setattr("super_selfish.augmentations.color_jitter.MOST_PIXELS_IN_A_GAP", gap)
        torch.testing.assert_close(jitter.apply(images, drawn), expected, atol=1e-5, rtol=0)


def test_jitter_with_probability_zero_returns_the_images(generator: torch.Generator) -> None:
    images = batch(generator)
    assert torch.equal(ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.0)(images, generator), images)


def test_jitter_leaves_its_input_alone(generator: torch.Generator) -> None:
    images = batch(generator)
    before = images.clone()
    ColorJitter(0.4, 0.4, 0.4, 0.1, p_grayscale=0.5)(images, generator)
    assert torch.equal(images, before)


def test_five_channels_are_jittered_in_brightness_and_contrast(generator: torch.Generator) -> None:
    images = batch(generator, 5) * 0.2 + 0.4
    jitter = ColorJitter(0.3, 0.3, 0.3, 0.1, p_grayscale=1.0)
    drawn = jitter.draw((6, 5, 9, 14), generator)
    # Brightness and contrast commute: both scale, and the mean scales with the image.
    expected = adjust_contrast(adjust_brightness(images, drawn.brightness), drawn.contrast)
    torch.testing.assert_close(jitter.apply(images, drawn), expected, atol=1e-6, rtol=0)


def test_jitter_draws_what_it_says(generator: torch.Generator) -> None:
    drawn = ColorJitter(0.4, 1.5, 0.2, 0.1, p=0.8, p_grayscale=0.2).draw(
        (20000, 3, 1, 1), generator
    )
    jittered = drawn.hue != 0
    assert jittered.float().mean().item() == pytest.approx(0.8, abs=0.015)
    assert drawn.grayscale.float().mean().item() == pytest.approx(0.2, abs=0.015)
    for factors, low, high in (
        (drawn.brightness, 0.6, 1.4),
        (drawn.contrast, 0.0, 2.5),
        (drawn.saturation, 0.8, 1.2),
        (drawn.hue, -0.1, 0.1),
    ):
        chosen = factors[jittered]
        assert low <= chosen.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < chosen.max() <= high
        assert chosen.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert torch.equal(drawn.brightness[~jittered], torch.ones(int((~jittered).sum())))
    codes = (drawn.order * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24  # all orders
    assert counts.min() > 20000 / 24 * 0.85


def test_equal_generators_give_equal_images_and_views_do_not_depend_on_chunks(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = batch(generator, count=16)
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8, p_grayscale=0.2)
    first = jitter(images, torch.Generator().manual_seed(3))
    assert torch.equal(first, jitter(images, torch.Generator().manual_seed(3)))
    monkeypatch.setattr("super_selfish.augmentations.chunks.PIXELS_PER_CHUNK", 3 * 9 * 14)
    assert samples_per_chunk(images) == 3
    chunked = jitter(images, torch.Generator().manual_seed(3))
    torch.testing.assert_close(chunked, first, atol=1e-6, rtol=0)


def test_map_chunks_hands_every_row_its_own_parameter(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("super_selfish.augmentations.chunks.PIXELS_PER_CHUNK", 2)
    images, parameters = torch.rand(5, 1, 1, 1, generator=generator), torch.arange(5.0)
    result = map_chunks(lambda x, p: x + p.view(-1, 1, 1, 1), images, parameters)
    assert torch.equal(result, images + parameters.view(-1, 1, 1, 1))


@pytest.mark.parametrize(
    ("augmentation", "function"),
    [
        (RandomBrightness(0.1, 1.9), adjust_brightness),
        (RandomContrast(0.1, 1.9), adjust_contrast),
        (RandomSaturation(0.1, 1.9), adjust_saturation),
    ],
)
def test_random_factors_span_their_range_and_reach_the_function(  # type: ignore[no-untyped-def]
    augmentation, function, generator
) -> None:
    factors = augmentation.draw((5000, 3, 4, 4), generator).factors
    assert 0.1 <= factors.min() < 0.12
    assert 1.88 < factors.max() <= 1.9
    images = batch(generator)
    drawn = augmentation.draw((6, 3, 9, 14), generator)
    assert torch.equal(augmentation.apply(images, drawn), function(images, drawn.factors))


def test_random_grayscale_turns_the_drawn_samples_gray(generator: torch.Generator) -> None:
    images = batch(generator, count=40)
    augmentation = RandomGrayscale(0.5)
    drawn = augmentation.draw((40, 3, 9, 14), generator)
    views = augmentation.apply(images, drawn)
    torch.testing.assert_close(views[drawn.selected], to_grayscale(images[drawn.selected]))
    assert torch.equal(views[~drawn.selected], images[~drawn.selected])
    assert 10 < drawn.selected.sum() < 30


def test_wrong_parameters_are_refused(generator: torch.Generator) -> None:
    images = batch(generator)
    with pytest.raises(ValueError, match=r"shape \(6,\), got \(5,\)"):
        adjust_brightness(images, torch.ones(5))
    with pytest.raises(ValueError, match="factors must be >= 0, got -1"):
        adjust_contrast(images, -torch.ones(6))
    with pytest.raises(ValueError, match="is for 5 images of 3 channels"):
        apply_color_matrix(images, ColorMatrix.identity(5, 3))
    with pytest.raises(ValueError, match="brightness must be >= 0"):
        ColorJitter(-0.1)
    with pytest.raises(ValueError, match="hue is in turns"):
        ColorJitter(0.1, 0.1, 0.1, 0.6)
    with pytest.raises(ValueError, match="p_grayscale is a probability"):
        ColorJitter(p_grayscale=1.1)
    with pytest.raises(ValueError, match="low <= high"):
        RandomContrast(0.5, 0.4)
    with pytest.raises(ValueError, match="p is a probability"):
        RandomGrayscale(-0.1)
