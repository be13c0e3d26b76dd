from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2.functional as tv
from torchvision.transforms import InterpolationMode

from super_selfish.augmentations.elastic import RandomElastic
from super_selfish.augmentations.geometry import (
    RandomAffine,
    RandomQuarterTurn,
    RandomRotation,
    RandomScale,
    RandomShear,
    RandomTranslation,
    affine_matrices,
    rotate_quarter,
    warp,
)
from tests.references import largest_uniform_deviation

TOLERANCE = 1e-4  # of [0, 1]: float32 coordinates, computed in another order


@pytest.mark.parametrize("channels", [1, 5])
def test_quarter_turns_are_exactly_rot90(channels: int, generator: torch.Generator) -> None:
    images = torch.rand(6, channels, 7, 7, generator=generator)
    turns = torch.tensor([0, 1, 2, 3, -1, 6])
    for view, image, turn in zip(rotate_quarter(images, turns), images, turns, strict=True):
        assert torch.equal(view, torch.rot90(image, int(turn), (1, 2)))


def test_a_quarter_turn_and_its_inverse_restore_uint8_images(
    generator: torch.Generator,
) -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator)
    turns = torch.arange(4)
    assert torch.equal(rotate_quarter(rotate_quarter(images, turns), -turns), images)


def test_images_that_are_not_square_take_half_turns_only(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 4, 6, generator=generator)
    views = rotate_quarter(images, torch.tensor([0, 2]))
    assert torch.equal(views[1], torch.rot90(images[1], 2, (1, 2)))
    with pytest.raises(ValueError, match="quarter turn changes the shape of 4x6 images"):
        rotate_quarter(images, torch.tensor([0, 1]))
    drawn = RandomQuarterTurn().draw((200, 3, 4, 6), generator)
    assert set(drawn.tolist()) == {0, 2}


def test_quarter_turns_are_drawn_equally_often(generator: torch.Generator) -> None:
    counts = RandomQuarterTurn().draw((4000, 3, 6, 6), generator).bincount()
    assert counts.shape == (4,)
    assert (counts - 1000).abs().max() < 120  # more than four standard deviations


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (41, 17)])
def test_affine_agrees_with_torchvision(
    height: int, width: int, channels: int, generator: torch.Generator
) -> None:
    images = torch.rand(5, channels, height, width, generator=generator)
    angle = torch.tensor([0.0, 30.0, -75.0, 12.0, 180.0])
    shift = torch.tensor([[0.0, 0.0], [0.1, -0.2], [-0.3, 0.05], [0.0, 0.25], [0.01, 0.02]])
    scale = torch.tensor([1.0, 0.7, 1.4, 1.1, 0.5])
    shear = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, -25.0], [10.0, 15.0], [-30.0, 5.0]])
    actual = warp(images, affine_matrices(angle, shift, scale, shear))
    for i, image in enumerate(images):
        expected = tv.affine(
            image,
            angle=angle[i].item(),
            translate=[shift[i, 0].item() * width, shift[i, 1].item() * height],
            scale=scale[i].item(),
            shear=shear[i].tolist(),
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(actual[i], expected, atol=TOLERANCE, rtol=0)


def test_rotation_agrees_with_torchvisions_rotate(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 20, 30, generator=generator)
    view = RandomRotation((25.0, 25.0))(images, generator)
    expected = tv.rotate(images, 25.0, InterpolationMode.BILINEAR)
    torch.testing.assert_close(view, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_parameters_of_the_identity_return_the_image(mode: str, generator: torch.Generator) -> None:
    images = torch.rand(2, 5, 31, 45, generator=generator)
    view = RandomAffine(mode=mode)(images, generator)  # type: ignore[arg-type]
    torch.testing.assert_close(view, images, atol=TOLERANCE, rtol=0)


def test_a_whole_pixel_translation_moves_right_and_down(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 10, 20, generator=generator)
    view = RandomTranslation((0.1, 0.1), (0.2, 0.2))(images, generator)
    torch.testing.assert_close(view[..., 2:, 2:], images[..., :-2, :-2], atol=TOLERANCE, rtol=0)
    assert view[..., :2, :].abs().max() < TOLERANCE


def test_a_displacement_in_pixels_reads_that_much_further(generator: torch.Generator) -> None:
    images = torch.rand(1, 3, 12, 16, generator=generator)
    displacement = torch.tensor([2.0, 3.0])[None, :, None, None].expand(1, 2, 12, 16)  # dy, dx
    view = warp(images, displacement=displacement)
    torch.testing.assert_close(view[..., :-2, :-3], images[..., 2:, 3:], atol=TOLERANCE, rtol=0)


def test_affine_and_elastic_compose_into_one_warp_of_a_smooth_image() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 4, 64), indexing="ij")
    images = (0.5 + 0.4 * torch.sin(y) * torch.cos(x))[None, None]
    affine = RandomAffine((20.0, 20.0), (0.05, 0.05), (0.9, 0.9), elastic_sigma=10.0)
    drawn = affine.draw((1, 1, 48, 64), torch.Generator().manual_seed(1))
    assert drawn.displacement is not None
    steps = affine.apply(images, drawn._replace(displacement=None))
    steps = RandomElastic().apply(steps, drawn.displacement)
    once = affine.apply(images, drawn)
    inside = (slice(None), slice(None), slice(16, 32), slice(20, 44))  # away from the black
    torch.testing.assert_close(once[inside], steps[inside], atol=5e-3, rtol=0)


def test_fill_shows_outside_of_the_image_only() -> None:
    images = torch.full((1, 2, 16, 16), 0.25)
    view = RandomTranslation((0.5, 0.5), (0.0, 0.0), fill=0.75)(images, torch.Generator())
    torch.testing.assert_close(view[..., :7], torch.full((1, 2, 16, 7), 0.75))
    torch.testing.assert_close(view[..., 9:], torch.full((1, 2, 16, 7), 0.25))


def test_half_precision_images_are_sampled_with_full_coordinates(
    generator: torch.Generator,
) -> None:
    images = torch.rand(2, 3, 64, 64, generator=generator)
    matrices = affine_matrices(
        torch.tensor([10.0, -20.0]), torch.zeros(2, 2), torch.ones(2), torch.zeros(2, 2)
    )
    view = warp(images.bfloat16(), matrices)
    assert view.dtype == torch.bfloat16
    torch.testing.assert_close(view.float(), warp(images, matrices), atol=1e-2, rtol=0)


def test_ranges_are_drawn_uniformly_within_their_bounds(generator: torch.Generator) -> None:
    augmentation = RandomAffine(
        30.0, (-0.1, 0.3), 0.2, 10.0, translate_y=0.05, shear_y=(-5.0, 20.0)
    )
    drawn = augmentation.draw((4000, 3, 8, 8), generator)
    bound = 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov at 1 %
    for values, low, high in (
        (drawn.angle, -30.0, 30.0),
        (drawn.translate[:, 0], -0.1, 0.3),
        (drawn.translate[:, 1], -0.05, 0.05),
        (drawn.scale, 0.8, 1.2),
        (drawn.shear[:, 0], -10.0, 10.0),
        (drawn.shear[:, 1], -5.0, 20.0),
    ):
        assert low <= values.min() and values.max() <= high
        assert largest_uniform_deviation(values, low, high) < bound


def test_each_class_draws_its_own_parameter_only(generator: torch.Generator) -> None:
    shape = (8, 3, 8, 8)
    rest = RandomAffine().draw(shape, generator)
    for augmentation, own in (
        (RandomRotation(30.0), "angle"),
        (RandomShear(30.0, 10.0), "shear"),
        (RandomTranslation(0.3), "translate"),
        (RandomScale((0.7, 1.4)), "scale"),
    ):
        drawn = augmentation.draw(shape, generator)
        for name in ("angle", "translate", "scale", "shear"):
            assert torch.equal(getattr(drawn, name), getattr(rest, name)) == (name != own)


def test_elastic_reaches_the_samples_that_drew_it(generator: torch.Generator) -> None:
    augmentation = RandomAffine(elastic_sigma=10.0, p_elastic=0.25)
    displacement = augmentation.draw((2000, 3, 45, 45), generator).displacement
    assert displacement is not None
    moved = displacement.flatten(1).any(dim=1)
    assert abs(moved.float().mean().item() - 0.25) < 0.04
    assert abs(displacement[moved].std().item() - 2.0) < 0.05  # 10 * 45 / 225


def test_equal_generators_give_equal_views(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 12, 12, generator=generator)
    augmentation = RandomAffine(30.0, 0.1, 0.2, 10.0, elastic_sigma=10.0)
    first, second = (augmentation(images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[0], images[0])


def test_wrong_arguments_are_refused() -> None:
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="matrices must be"):
        warp(images, torch.zeros(3, 2, 3))
    with pytest.raises(ValueError, match="coarse_to_dense"):
        warp(images, displacement=torch.zeros(2, 2, 3, 3))
    with pytest.raises(ValueError, match="needs matrices"):
        warp(images)
    with pytest.raises(TypeError, match="divide by 255"):
        warp(images.to(torch.uint8), torch.zeros(2, 2, 3))
    with pytest.raises(ValueError, match="scale must stay > 0"):
        RandomScale(1.0)
    with pytest.raises(ValueError, match="degrees must be"):
        RandomRotation(-3.0)
    with pytest.raises(ValueError, match="within -90 and 90"):
        RandomShear(90.0)
    with pytest.raises(ValueError, match=r"turns must be \[2\]"):
        rotate_quarter(images, torch.zeros(3, dtype=torch.int64))
