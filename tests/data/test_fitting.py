"""Images are brought to a number of channels where that is clear, and else refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.fitting import fit_channels, fit_size, parse_size


def test_gray_is_repeated_and_colours_have_the_luminance_of_pil() -> None:
    image = torch.randint(256, (3, 9, 7), dtype=torch.uint8)
    gray = torch.from_numpy(np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")))
    assert torch.equal(fit_channels(image, 1), gray[None])
    assert torch.equal(fit_channels(gray[None], 3), gray.expand(3, 9, 7))
    assert fit_channels(image, 3) is image
    shares = fit_channels(torch.eye(3).view(3, 3, 1), 1).flatten()
    torch.testing.assert_close(shares, torch.tensor([0.299, 0.587, 0.114]))


@pytest.mark.parametrize(
    ("channels", "wanted"), [(1, 2), (1, 4), (2, 1), (2, 3), (3, 2), (3, 4), (4, 1), (4, 3)]
)
def test_other_steps_are_refused(channels: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=rf"cannot turn {channels} channels? into {wanted} \(only"):
        fit_channels(torch.zeros(channels, 8, 8), wanted)


@pytest.mark.parametrize("wanted", [1, 3])
def test_several_images_are_brought_to_channels_as_each_alone(wanted: int) -> None:
    for dtype in (torch.uint8, torch.uint16, torch.float32):
        images = (torch.rand(2, 4 - wanted, 5, 6) * 250).to(dtype)
        found = fit_channels(images, wanted)
        assert found.dtype == dtype
        assert found.shape == (2, wanted, 5, 6)
        assert found.tolist() == [fit_channels(image, wanted).tolist() for image in images]


def test_luminance_of_sixteen_bits_is_rounded() -> None:
    colours = torch.tensor([[1000, 65535, 3], [2000, 65535, 3], [3000, 65535, 4]])  # by channels
    expected = [[[0.299 * 1000 + 0.587 * 2000 + 0.114 * 3000, 65535, 3.114]]]
    found = fit_channels(colours.to(torch.uint16).view(3, 1, 3), 1)
    assert found.tolist() == [[[round(shade) for shade in expected[0][0]]]]


# Sizes


@pytest.mark.parametrize(
    ("given", "size"),
    [(5, (5, 5)), ((4, 6), (4, 6)), ([1, 2], (1, 2)), (np.int64(3), (3, 3)), (1, (1, 1))],
)
def test_a_size_is_a_side_or_two(given: Any, size: tuple[int, int]) -> None:
    assert parse_size(given) == size
    assert all(type(side) is int for side in parse_size(given))


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("32", TypeError, r"side must be one number or \(height, width\), got '32'"),
        (b"32", TypeError, "got b'32'"),
        (None, TypeError, "got None"),
        ((1, 2, 3), ValueError, r"side must be one number or .*got \(1, 2, 3\)"),
        ((4,), ValueError, r"got \(4,\)"),
        ((), ValueError, r"got \(\)"),
        (0, ValueError, "side must be at least 1 pixel a side, got 0"),
        ((4, 0), ValueError, r"at least 1 pixel a side, got \(4, 0\)"),
        ((-1, 4), ValueError, r"at least 1 pixel a side, got \(-1, 4\)"),
        (3.5, (ValueError, TypeError), "side"),
    ],
)
def test_what_is_no_size_is_refused(given: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        parse_size(given, "side")


def covered(image: torch.Tensor, height: int, width: int) -> Any:
    """What PIL makes of it: resized to cover the size, and cut."""
    array = image.numpy()
    scale = max(height / array.shape[0], width / array.shape[1])
    sides = max(height, round(array.shape[0] * scale)), max(width, round(array.shape[1] * scale))
    kind = Image.fromarray(array if array.dtype == np.uint8 else array.astype(np.float32))
    resized = np.asarray(kind.resize(sides[::-1], Image.Resampling.BILINEAR))
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    return resized[top : top + height, left : left + width].astype(np.float64)


SIZES = [
    *((20, 30, 10, 10), (30, 20, 10, 10), (21, 33, 10, 16), (10, 10, 25, 20), (7, 9, 20, 31)),
    *((20, 30, 20, 20), (33, 20, 20, 20), (20, 20, 20, 13), (15, 15, 8, 16), (8, 9, 8, 9)),
]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize(("height", "width", "high", "wide"), SIZES)
def test_an_image_covers_its_size_and_its_middle_is_kept(
    dtype: torch.dtype, height: int, width: int, high: int, wide: int
) -> None:
    most = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}[dtype]
    image = (torch.rand(height, width, generator=torch.Generator().manual_seed(0)) * most).to(dtype)
    found = fit_size(image[None], (high, wide))
    assert found.dtype == dtype
    assert found.shape == (1, high, wide)
    apart = np.abs(found[0].to(torch.float64).numpy() - covered(image, high, wide)).max()
    assert apart <= (1e-5 if most == 1 else 0.51 if most == 65535 else 1)


def test_of_a_strip_only_the_middle_is_resized() -> None:
    ramp = torch.arange(100, dtype=torch.float32).expand(1, 10, 100) / 100
    for turned in (False, True):
        image = ramp.transpose(1, 2) if turned else ramp
        found = fit_size(image, (5, 5))
        line = found[0, :, 2] if turned else found[0, 2]
        middle = ramp[0, 0, 40:60].view(10, 2).mean(dim=1)  # two of the ten columns are for one
        torch.testing.assert_close(line[1:4], middle[3:6], atol=0.006, rtol=0)


def test_an_image_of_its_size_is_given_as_it_is() -> None:
    image = torch.zeros(3, 8, 9)
    assert fit_size(image, (8, 9)) is image
    cut = fit_size(image, (8, 6))
    assert cut.data_ptr() == image[:, :, 1:].data_ptr()  # nothing is resized


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("is_last", [False, True])
def test_several_images_are_resized_as_each_alone_in_their_layout(
    dtype: torch.dtype, is_last: bool
) -> None:
    images = (torch.rand(2, 3, 20, 30) * 250).to(dtype)
    if is_last:
        images = images.contiguous(memory_format=torch.channels_last)
    found = fit_size(images, (10, 11))
    assert found.shape == (2, 3, 10, 11)
    alone = [fit_size(image, (10, 11)) for image in images]
    assert found.tolist() == [image.tolist() for image in alone]
    assert (alone[0].stride(0) == 1) == is_last


def test_numbers_of_sixteen_bits_stay_in_their_range() -> None:
    image = torch.tensor([0, 65535], dtype=torch.int32).to(torch.uint16).repeat(1, 8, 4)
    found = fit_size(image, (16, 16)).to(torch.int32)
    assert (int(found.min()), int(found.max())) == (0, 65535)
