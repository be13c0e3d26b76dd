"""Copies are found, strangers are not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from super_selfish.data import photographs
from super_selfish.evaluation.checking import alike
from super_selfish.evaluation.checking.alike import (
    Near,
    first_copies,
    groups,
    near_duplicates,
    thinned,
    threshold_for,
)
from super_selfish.evaluation.checking.films import SHORTEST, films, natural_order
from super_selfish.evaluation.checking.footprints import Footprints, footprints_of


@pytest.fixture(scope="module")
def patches() -> Tensor:
    """Photographs that are no copies of one another."""
    return photographs(64, per_photograph=30).images[::2]


def prints_of(images: Tensor) -> Footprints:
    return footprints_of(images, np.arange(len(images)))[0]


def changed(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """The same images of the same size, after a change."""
    done = []
    for image in images:
        picture = change(Image.fromarray(image.permute(1, 2, 0).numpy())).convert("RGB")
        resized = picture.resize((image.shape[2], image.shape[1]), Image.Resampling.BILINEAR)
        done.append(torch.from_numpy(np.array(resized)).permute(2, 0, 1))
    return torch.stack(done)


def as_jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue()))

    return change


def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        edge = round(image.width * share / 2)
        return image.crop((edge, edge, image.width - edge, image.height - edge))

    return change


def share_found(images: Tensor, other: Tensor) -> float:
    """Share of images whose changed copy is found; nobody else may be."""
    number = len(images)
    near = near_duplicates(prints_of(torch.cat([images, other])), np.arange(2 * number))
    assert ((near.second - near.first) == number).all()
    return near.pairs / number


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [
        (as_jpeg(75), 1.0, 1.0),
        (as_jpeg(30), 0.9, 1.0),
        (lambda image: image.resize((40, 40)), 0.9, 1.0),
        (lambda image: ImageEnhance.Brightness(image).enhance(0.6), 1.0, 1.0),
        (lambda image: image.convert("L"), 0.9, 1.0),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.95, 1.0),
        (cropped(0.2), 0.0, 0.05),
        (lambda image: image.rotate(20), 0.0, 0.05),
    ],
    ids=["jpeg 75", "jpeg 30", "resized", "darker", "grey", "mirrored", "cropped", "turned"],
)
def test_which_copies_are_found(
    patches: Tensor, change: Callable[[Image.Image], Image.Image], least: float, most: float
) -> None:
    images = patches[:60]
    assert least <= share_found(images, changed(images, change)) <= most


def test_mirrored_pairs_are_told_from_others(patches: Tensor) -> None:
    both = torch.cat([patches[:5], patches[:5].flip(3), patches[:2] // 2])
    near = near_duplicates(prints_of(both), np.arange(12))
    pairs = set(
        zip(near.first.tolist(), near.second.tolist(), near.is_mirrored.tolist(), strict=True)
    )
    darker = {(0, 10, False), (1, 11, False), (5, 10, True), (6, 11, True)}
    assert pairs == {(i, i + 5, True) for i in range(5)} | darker


def test_only_candidates_are_compared(patches: Tensor) -> None:
    both = torch.cat([patches[:4], patches[:4] // 2])
    near = near_duplicates(prints_of(both), np.array([1, 2, 3, 5, 7]))
    assert list(zip(near.first, near.second, strict=True)) == [(1, 5), (3, 7)]


def test_a_symmetric_image_is_a_plain_copy(patches: Tensor) -> None:
    image = torch.cat([patches[:1, :, :, :32], patches[:1, :, :, :32].flip(3)], dim=3)
    near = near_duplicates(prints_of(torch.cat([image, image // 2, patches[:3]])), np.arange(5))
    assert (near.first.tolist(), near.second.tolist()) == ([0], [1])
    assert near.is_mirrored.tolist() == [False]


@pytest.mark.parametrize(
    ("strangers", "threshold"), [(0.0, 0.8), (0.2, 0.8), (0.6, 0.95), (0.8, 0.98), (1.0, 0.98)]
)
def test_the_nearer_strangers_are_the_less_a_copy_may_differ(
    strangers: float, threshold: float
) -> None:
    assert threshold_for(strangers) == pytest.approx(threshold)


def test_of_images_that_are_much_alike_only_true_copies_count(patches: Tensor) -> None:
    common = patches[:1].float()
    noise = torch.randn(80, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alike_images = (0.8 * common + 20 + 24 * noise).clamp(0, 255).to(torch.uint8)
    prints = prints_of(torch.cat([alike_images, alike_images[:3] // 2]))
    near = near_duplicates(prints, np.arange(83))
    assert near.strangers > 0.5
    assert list(zip(near.first, near.second, strict=True)) == [(0, 80), (1, 81), (2, 82)]


def test_frames_of_a_film_are_no_strangers(patches: Tensor) -> None:
    prints = prints_of(torch.cat([patches[:20], patches[:20] // 2]))
    alike_bits = np.zeros(40, np.int64)
    near = near_duplicates(prints, np.arange(40), film_of=alike_bits)
    assert near.strangers == 0
    assert near_duplicates(prints, np.arange(40)).strangers > 0


def test_a_search_that_would_take_hours_is_coarser_or_left_out(
    patches: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = prints_of(torch.cat([patches[:5], patches[:5] // 2]))
    assert near_duplicates(prints, np.arange(10)).limit == ""
    monkeypatch.setattr(alike, "_FINE_SEARCH", 0)
    coarse = near_duplicates(prints, np.arange(10))
    assert coarse.pairs == 5 and "coarser" in coarse.limit
    monkeypatch.setattr(alike, "_ANY_SEARCH", 0)
    none = near_duplicates(prints, np.arange(10))
    assert none.pairs == 0 and "were not searched for" in none.limit


def test_too_many_pairs_end_the_search(patches: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = torch.cat([patches[:1] // 2, patches[:1], patches[:1] // 3])
    monkeypatch.setattr(alike, "_MOST_PAIRS", 1)
    near = near_duplicates(prints_of(shades), np.arange(3), threshold=0.8)
    assert "ended at 1 pairs" in near.limit


def test_first_copies_and_groups_and_who_stays() -> None:
    first_of = first_copies(np.array([7, 5, 7, 3, 5, 9], np.uint64))
    assert first_of.tolist() == [0, 1, 0, 3, 1, 5]
    near = Near(
        np.array([0, 3, 1]),
        np.array([3, 5, 3]),
        np.ones(3, np.float32),
        np.zeros(3, bool),
        0.8,
        0.1,
    )
    # 3 is near 0, which stays, so it goes; 5 is near 3 alone, which is gone.
    assert thinned(6, first_of, near).tolist() == [True, True, False, False, False, True]
    assert len(set(groups(6, first_of, near).tolist())) == 1
    apart = groups(6, first_of, near.chosen(np.array([True, False, False])))
    assert len(set(apart.tolist())) == 3 and apart[0] == apart[2] == apart[3]


def film(patches: Tensor, frames: int) -> Tensor:
    """A photograph over which a bright spot moves."""
    rows = patches[:1].repeat(frames, 1, 1, 1)
    for number in range(frames):
        rows[number, :, 20:30, 2 * number : 2 * number + 10] = 255
    return rows


@pytest.mark.parametrize("frames", [SHORTEST - 1, SHORTEST, 20])
def test_frames_that_follow_one_another_are_a_film(patches: Tensor, frames: int) -> None:
    rows = torch.cat([patches[10:25], film(patches, frames), patches[40:60]])
    found = films(prints_of(rows), np.arange(len(rows)))
    expected = [list(range(15, 15 + frames))] if frames >= SHORTEST else []
    assert [frames.tolist() for frames in found] == expected


def test_images_that_are_all_alike_are_no_film(patches: Tensor) -> None:
    noise = torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    rows = (0.8 * patches[:1].float() + 20 + 10 * noise).clamp(0, 255).to(torch.uint8)
    assert films(prints_of(rows), np.arange(40)) == []
    assert films(prints_of(rows[:3]), np.arange(3)) == []


def test_frames_are_in_the_order_of_their_numbers() -> None:
    names = ["b/frame2.png", "b/frame10.png", "a/frame1.png", "b/frame1.png"]
    assert natural_order(names).tolist() == [2, 3, 0, 1]
