"""Torchvision's transforms, and functions of a batch, as augmentations."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from super_selfish.augmentations import (
    Compose,
    FromFunction,
    FromTorchvision,
    Invert,
    RandomApply,
    RandomHorizontalFlip,
    Resize,
    recipe,
)
from super_selfish.augmentations.torchvision_adapter import adapted

STRONG = v2.Compose(
    [
        v2.RandomResizedCrop(24, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.GaussianBlur(5),
    ]
)


def seeded(number: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_every_image_has_draws_of_its_own_and_torchs_stream_stays(images: Tensor) -> None:
    same = images[:1].repeat(6, 1, 1, 1)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    views = FromTorchvision(STRONG)(same, seeded())
    assert torch.equal(torch.rand(4), expected)
    assert views.shape == (6, 3, 24, 24)
    assert views.dtype == torch.float32
    assert 0.0 <= float(views.min()) <= float(views.max()) <= 1.0
    assert all(not torch.equal(views[0], view) for view in views[1:])


def test_the_generator_decides_and_nothing_else(images: Tensor) -> None:
    augmentation = FromTorchvision(STRONG)
    first = augmentation(images, seeded())
    torch.manual_seed(77)
    assert torch.equal(augmentation(images, seeded()), first)
    assert not torch.equal(augmentation(images, seeded(5)), first)


def test_a_sample_is_the_same_view_in_any_batch(images: Tensor) -> None:
    augmentation = FromTorchvision(STRONG)
    seeds = augmentation.draw((22, 3, 32, 32), seeded())
    whole = augmentation.apply(images, seeds)
    assert torch.equal(augmentation.apply(images[5:9], seeds[5:9]), whole[5:9])


@pytest.mark.parametrize(
    ("transforms", "batched"),
    [
        (v2.Resize(24, antialias=True), True),
        (v2.Compose([v2.CenterCrop(24), v2.ToDtype(torch.float32, scale=True)]), True),
        ([v2.Resize(30, antialias=True), v2.CenterCrop(24)], True),
        (nn.Sequential(v2.CenterCrop(24), v2.Grayscale(3)), True),
        (v1.Compose([v1.CenterCrop(24)]), True),
        (v2.RandomCrop(24), False),
        (v2.Compose([v2.CenterCrop(24), v2.RandomHorizontalFlip()]), False),
        (v2.RandomApply([v2.CenterCrop(24)]), False),
        (v1.Compose([v1.RandomResizedCrop(24)]), False),
        (v2.Compose([v2.CenterCrop(24), v2.Lambda(lambda image: image)]), False),
    ],
)
def test_only_what_draws_nothing_goes_through_as_a_batch(
    transforms: Any, batched: bool, images: Tensor
) -> None:
    augmentation = FromTorchvision(transforms)
    assert augmentation.batched is batched
    one_by_one = FromTorchvision(transforms, batched=False)
    if batched:
        views = augmentation(images, seeded())
        assert views.shape[-2:] == (24, 24)
        assert torch.allclose(views, one_by_one(images, seeded()), atol=1e-6)


def test_what_is_asked_for_as_a_batch_shares_its_draws(images: Tensor) -> None:
    same = images[:1].repeat(4, 1, 1, 1)
    views = FromTorchvision(STRONG, batched=True)(same, seeded())
    assert all(torch.equal(views[0], view) for view in views)


def test_transforms_get_floats_unless_they_want_whole_numbers(images: Tensor) -> None:
    seen: list[torch.dtype] = []

    def look(image: Tensor) -> Tensor:
        seen.append(image.dtype)
        return image

    words = (images[:2].int() * 257).to(torch.uint16)
    for given in (images[:2], words, images[:2] / 255):
        for dtype in (torch.float32, torch.uint8):
            views = FromTorchvision(v2.Lambda(look), dtype=dtype)(given, seeded())
            assert set(seen) == {dtype}
            seen.clear()
            assert torch.allclose(views, images[:2] / 255, atol=1e-6)


def test_a_threshold_of_whole_numbers_is_told_how_to_get_them(images: Tensor) -> None:
    solarize = v2.RandomSolarize(128, p=1.0)
    with pytest.raises(TypeError, match=r"Compose refuses torch.float32 .* dtype=torch.uint8"):
        FromTorchvision(v2.Compose([solarize]))(images, seeded())
    views = FromTorchvision(solarize, dtype=torch.uint8)(images, seeded())
    expected = torch.where(images >= 128, 255 - images.int(), images.int()) / 255
    assert torch.allclose(views, expected, atol=1e-6)


def test_a_pipeline_through_pil_goes_in_as_it_is(images: Tensor) -> None:
    pipeline = v1.Compose([v1.ToPILImage(), v1.CenterCrop(24), v1.ToTensor()])
    views = FromTorchvision(pipeline, dtype=torch.uint8)(images, seeded())
    assert torch.allclose(views, images[..., 4:28, 4:28] / 255)


def test_image_tensors_of_torchvision_become_plain_ones(images: Tensor) -> None:
    views = FromTorchvision(v2.Compose([v2.ToImage(), v2.CenterCrop(24)]))(images, seeded())
    assert type(views) is Tensor


@pytest.mark.parametrize(
    "transforms",
    [
        v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]),
        v1.Compose([v1.Normalize([0.5], [0.5])]),
        [v2.RandomApply([v2.Normalize([0.5], [0.5])])],
    ],
)
def test_normalisation_is_refused_in_words(transforms: Any) -> None:
    with pytest.raises(ValueError, match=r'leave Normalize out .* normalize="imagenet"'):
        FromTorchvision(transforms)


def test_what_takes_pil_images_alone_is_refused_in_words(images: Tensor) -> None:
    former = [v1.RandomHorizontalFlip(), v1.ToTensor()]
    with pytest.raises(ValueError, match="leave ToTensor out"):
        FromTorchvision(v1.Compose(former))
    with pytest.warns(UserWarning, match="deprecated"):
        current = v2.ToTensor()
    assert torch.equal(FromTorchvision(current)(images, seeded()), images / 255)


def test_views_of_several_sizes_are_refused_in_words(images: Tensor) -> None:
    augmentation = FromTorchvision(v2.ScaleJitter((24, 24), antialias=True))
    with pytest.raises(ValueError, match=r"of one size, got .* end with Resize"):
        augmentation(images, seeded())


def test_what_is_no_image_is_refused_in_words(images: Tensor) -> None:
    with pytest.raises(TypeError, match=r"must make tensors \[3, 32, 32\].*, got a Image"):
        FromTorchvision(v2.ToPILImage())(images, seeded())
    with pytest.raises(TypeError, match=r"tensors \[22, 3, 32, 32\].*got a tensor \[21, 3, 32"):
        FromFunction(lambda batch: batch[1:])(images, seeded())


def test_nothing_is_changed_in_place(images: Tensor) -> None:
    given = images / 255
    before = given.clone()
    FromTorchvision(v2.RandomErasing(p=1.0, inplace=True))(given, seeded())
    FromFunction(lambda batch: batch.mul_(0.5))(given, seeded())
    assert torch.equal(given, before)


def test_it_is_a_step_among_others_and_takes_no_image_at_all(images: Tensor) -> None:
    own = FromTorchvision(v2.RandomCrop(24))
    assert own.output_shape((5, 3, 32, 32)) == (5, 3, 24, 24)
    steps = Compose([RandomHorizontalFlip(), own, Invert()])
    assert steps(images, seeded()).shape == (22, 3, 24, 24)
    assert vars(own) == vars(FromTorchvision(own.transforms))  # told as one that is new
    none = own(images[:0], seeded())
    assert none.shape == (0, 3, 24, 24)
    blurred = RandomApply(FromTorchvision(v2.GaussianBlur(5, 2.0)), 0.5)(images / 255, seeded())
    changed = (blurred != images / 255).flatten(1).any(dim=1)
    assert 0 < int(changed.sum()) < len(images)


def test_a_function_of_a_batch_is_called_once_with_all_images(images: Tensor) -> None:
    shapes: list[torch.Size] = []

    def noisy(batch: Tensor) -> Tensor:
        shapes.append(batch.shape)
        return (batch + 0.1 * torch.rand(len(batch), 1, 1, 1)).clamp(0, 1)

    augmentation = FromFunction(noisy)
    views = augmentation(images, seeded())
    assert shapes == [images.shape]
    assert torch.equal(augmentation(images, seeded()), views)


def test_what_may_be_given_is_told_from_what_may_not() -> None:
    flip = RandomHorizontalFlip()
    assert adapted(flip) is flip
    assert isinstance(adapted(v2.RandomCrop(24)), FromTorchvision)
    assert isinstance(adapted(v1.Compose([])), FromTorchvision)
    own = adapted(nn.Identity())
    assert isinstance(own, FromFunction) and not isinstance(own, FromTorchvision)
    for wrong in (3, RandomHorizontalFlip):
        with pytest.raises(TypeError, match="a function or an object"):
            adapted(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"torch.float32 or torch.uint8, got torch.float16"):
        FromFunction(nn.Identity(), dtype=torch.float16)


class OfTheUser(v2.Transform):
    """A subclass is torchvision's too."""

    def forward(self, image: Any) -> Any:
        return image * torch.rand(())


def test_a_transform_of_the_users_own_draws_for_each_image(images: Tensor) -> None:
    own = adapted(OfTheUser())
    assert isinstance(own, FromTorchvision) and not own.batched
    views = own(torch.ones(4, 3, 2, 2), seeded())
    assert len(views.flatten(1).amax(dim=1).unique()) == 4


def test_it_can_be_pickled(images: Tensor) -> None:
    again = pickle.loads(pickle.dumps(FromTorchvision(STRONG)))
    assert torch.equal(again(images, seeded()), FromTorchvision(STRONG)(images, seeded()))


def test_recipes_take_images_as_stacked(images: Tensor) -> None:
    own = recipe(v2.RandomHorizontalFlip(), (24, 24))
    assert own(images, seeded()).shape == (22, 3, 24, 24)
    assert isinstance(own, Compose) and isinstance(own.augmentations[0], Resize)
