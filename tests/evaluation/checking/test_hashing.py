"""The perceptual hash is the published one, and the detail tells copies from strangers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor

from super_selfish.data import photographs
from super_selfish.evaluation.checking.close_bits import bits_apart
from super_selfish.evaluation.checking.footprints import small
from super_selfish.evaluation.checking.hashing import agreement, hashes_of


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    patches = photographs(64, per_photograph=10).images
    return small(patches.float() / 255)


def test_bits_are_signs_of_low_frequencies_about_their_median(pictures: Tensor) -> None:
    low = scipy.fft.dctn(pictures.double().numpy(), axes=(1, 2))[:, :8, :8].reshape(-1, 64)
    above = low > np.median(low, axis=1, keepdims=True)
    expected = np.packbits(above, axis=1).view(np.uint64)[:, 0]
    apart = bits_apart(hashes_of(pictures).bits, expected)
    assert (apart <= 1).all()  # ties are no bits here
    assert (apart == 0).mean() > 0.9


def test_it_is_the_hash_of_imagehash() -> None:
    imagehash = pytest.importorskip("imagehash")
    from PIL import Image

    rows = torch.randint(0, 256, (5, 32, 32), generator=torch.Generator().manual_seed(0))
    bits = hashes_of(rows.float() / 255).bits
    for row, number in zip(rows, bits, strict=True):
        theirs = imagehash.phash(Image.fromarray(row.to(torch.uint8).numpy())).hash.reshape(-1)
        assert bits_apart(np.packbits(theirs).view(np.uint64), number.reshape(1)) <= 1


def test_the_mirrored_hash_is_that_of_the_mirrored_picture(pictures: Tensor) -> None:
    assert (hashes_of(pictures).mirrored == hashes_of(pictures.flip(2)).bits).all()
    assert (hashes_of(pictures).mirrored != hashes_of(pictures).bits).all()


def test_brightness_and_contrast_change_nothing(pictures: Tensor) -> None:
    one, other = hashes_of(pictures), hashes_of(0.2 + 0.5 * pictures)
    assert (one.bits == other.bits).all()
    assert agreement(one.detail, other.detail).min() > 0.999


def test_details_of_strangers_do_not_agree(pictures: Tensor) -> None:
    detail = hashes_of(pictures).detail
    assert abs(agreement(detail[:-7], detail[7:])).mean() < 0.2
    assert agreement(detail, -detail).max() == pytest.approx(-1)
    assert agreement(detail, detail).min() == pytest.approx(1)


def test_flat_pictures_have_no_bits_and_agree_with_nothing() -> None:
    flat = hashes_of(torch.full((2, 32, 32), 0.3))
    assert (flat.detail == 0).all()
    assert agreement(flat.detail, flat.detail).tolist() == [0, 0]
