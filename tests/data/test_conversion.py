"""From pictures, arrays and tensors to images, and how these are stacked and picked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from super_selfish.data.conversion import (
    RANGE_TOLERANCE,
    checked_values,
    has_alpha,
    images_from,
    number_tensor,
    numbers_from,
    numbers_from_array,
    numbers_from_pil,
    numbers_from_tensor,
    pil_channels,
    select_images,
    stack_images,
    tell_of_alpha,
)
from super_selfish.data.value_range import NoImageError, ValueRange

HEIGHT, WIDTH = 3, 5
COLOURS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
TOLD = "alpha channel is left out that is not opaque"


def picture(mode: str) -> Image.Image:
    """One of a mode, of the same colours, and transparent in places if it can be."""
    rgba = Image.fromarray(COLOURS)
    if mode in ("RGB", "RGBX", "CMYK", "YCbCr", "HSV", "L", "F", "I", "1", "P", "LAB"):
        return Image.fromarray(COLOURS[:, :, :3]).convert(mode)
    if mode == "I;16":
        return Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 257)
    return rgba.convert("LA").convert(mode) if mode in ("La", "PA") else rgba.convert(mode)


# By mode: what a picture becomes where alpha is kept and where it is not.
KINDS = {
    "1": ("L", "L"),
    "L": ("L", "L"),
    "LA": ("LA", "L"),
    "La": ("LA", "L"),
    "P": ("RGB", "RGB"),
    "PA": ("RGBA", "RGB"),
    "RGB": ("RGB", "RGB"),
    "RGBA": ("RGBA", "RGB"),
    "RGBa": ("RGBA", "RGB"),
    "CMYK": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
    "HSV": ("RGB", "RGB"),
}


@pytest.mark.filterwarnings(f"ignore:an {TOLD}")
@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("alpha", [True, False])
def test_a_picture_of_any_mode_becomes_grey_or_colour_with_alpha_if_wanted(
    mode: str, alpha: bool
) -> None:
    image = picture(mode)
    plain = image.convert({"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(mode, mode))
    expected = np.asarray(plain.convert(KINDS[mode][0 if alpha else 1]))
    expected = expected.reshape(HEIGHT, WIDTH, -1).transpose(2, 0, 1)
    found = numbers_from_pil(image, alpha=alpha)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected)
    assert pil_channels(image, alpha=alpha) == len(expected)
    assert has_alpha(image) == (KINDS[mode][0] != KINDS[mode][1])
    if len(expected) > 1:
        assert found.stride(0) == 1


def test_a_fourth_band_that_is_no_alpha_is_kept() -> None:
    image = picture("RGBX")
    assert pil_channels(image) == 4
    assert np.array_equal(numbers_from_pil(image).permute(1, 2, 0).numpy(), np.asarray(image))


def test_deep_grey_stays_what_it_is() -> None:
    deep = picture("I;16")
    assert pil_channels(deep) == 1
    found = numbers_from_pil(deep)
    assert found.dtype == torch.uint16
    assert found.numpy().tolist() == [np.asarray(deep).tolist()]
    floats = picture("F")
    assert pil_channels(floats) == 1
    assert numbers_from_pil(floats).numpy().tolist() == [np.asarray(floats).tolist()]


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([0, 65535], torch.uint16),
        ([-1, 65535], torch.int32),
        ([0, 65536], torch.int32),
        ([1, 2], torch.uint16),
    ],
)
def test_whole_numbers_are_of_sixteen_bits_where_these_hold_them(
    numbers: list[int], dtype: torch.dtype
) -> None:
    found = numbers_from_pil(Image.fromarray(np.array([numbers], np.int32)))
    assert found.dtype == dtype
    assert found.numpy().tolist() == [[numbers]]


@pytest.mark.parametrize(
    ("mode", "key", "counts"),
    [
        *(("P", bytes([0] * 256), True), ("P", 3, True), ("P", (1, 2, 3), False)),
        *(("1", 0, True), ("L", 3, True), ("L", (3,), False), ("L", None, False)),
        *(("RGB", (1, 2, 3), True), ("RGB", 3, False), ("HSV", 3, False)),
    ],
)
def test_a_key_makes_some_modes_transparent(mode: str, key: Any, counts: bool) -> None:
    image = picture(mode)
    if key is not None:
        image.info["transparency"] = key
    assert has_alpha(image) is counts
    assert pil_channels(image, alpha=True) - pil_channels(image) == counts


def test_alpha_that_is_left_out_is_told_where_it_says_something() -> None:
    for mode in ("LA", "RGBA"):
        image = Image.new(mode, (2, 2), "grey")
        numbers_from_pil(image)  # opaque: nothing is lost
        image.putpixel((1, 0), (9,) * (len(mode) - 1) + (254,))
        with pytest.warns(UserWarning, match=rf"{TOLD} everywhere: in_channels=4 \(2 for grey\)"):
            numbers_from_pil(image)
        numbers_from_pil(image, alpha=True)
    deep = picture("I;16")
    deep.info["transparency"] = 1  # 257 divides all numbers
    numbers_from_pil(deep)
    deep.info["transparency"] = int(np.asarray(deep)[1, 2])
    with pytest.warns(UserWarning, match="everywhere: 8 bits, or an alpha channel of its own"):
        numbers_from_pil(deep)
    tell_of_alpha(True)


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        *(("?", torch.bool), ("i1", torch.int8), ("u1", torch.uint8), ("u2", torch.uint16)),
        *(("i2", torch.int16), (">u2", torch.uint16), (">i4", torch.int32)),
        *(("u4", torch.int64), (">u4", torch.int64), ("u8", torch.float64)),
        *(("f2", torch.float16), (">f4", torch.float32), ("f8", torch.float64)),
        ("g", torch.float64),
    ],
)
def test_numbers_of_any_type_are_as_they_were(given: str, becomes: torch.dtype) -> None:
    array = np.array([[0, 1], [1, 100]]).astype(given)
    found = number_tensor(array)
    assert found.dtype == becomes
    assert found.tolist() == array.astype(bool if given == "?" else float).tolist()


def test_an_array_is_viewed_where_torch_can() -> None:
    array = np.arange(6.0).reshape(2, 3)
    number_tensor(array)[0, 0] = 7
    assert array[0, 0] == 7
    backwards = array[:, ::-1]
    assert number_tensor(backwards).tolist() == backwards.tolist()
    array.flags.writeable = False
    found = number_tensor(array)
    found[0, 0] = 8
    assert array[0, 0] == 7
    for wrong in (np.array([[1j]]), np.array([["a"]]), np.array([[None]])):
        with pytest.raises(ValueError, match="images must hold real numbers, got "):
            number_tensor(wrong)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_the_channels_of_an_image_are_brought_to_the_front(kind: str) -> None:
    grid = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    first = np.ascontiguousarray(grid.transpose(2, 0, 1))

    def found(array: Any, channels: int | None = None) -> Any:
        if kind == "array":
            one = numbers_from_array(array, channels)
            both = images_from(array[None], None, channels)
        else:
            one = numbers_from_tensor(torch.from_numpy(array), channels)
            both = images_from(torch.from_numpy(array)[None], None, channels)
        assert torch.equal(both[0], one)
        assert torch.equal(numbers_from(array, channels), one) or kind == "tensor"
        return one.numpy()

    assert np.array_equal(found(grid), first)
    assert np.array_equal(found(first), first)
    assert np.array_equal(found(grid[:, :, 0]), grid[None, :, :, 0])
    assert np.array_equal(found(grid, 8), grid)
    for wrong in (grid[0, 0], grid[None], grid[:, :, :0], grid[:0, :, 0]):
        with pytest.raises(ValueError, match=rf"image {kind} must be \[H, W\], .* got shape \["):
            numbers_from(wrong if kind == "array" else torch.from_numpy(wrong))


def test_channels_of_an_array_are_last_and_those_of_a_tensor_first_in_doubt() -> None:
    array = np.zeros((5, 12, 5))
    assert numbers_from_array(array, 5).shape == (5, 5, 12)
    assert numbers_from_tensor(torch.from_numpy(array), 5).shape == (5, 12, 5)
    assert images_from(array[None], None, 5).shape == (1, 5, 5, 12)
    assert images_from(torch.from_numpy(array)[None], None, 5).shape == (1, 5, 12, 5)


def test_unsigned_numbers_of_tensors_become_such_as_torch_knows() -> None:
    for dtype, becomes in ((torch.uint32, torch.int64), (torch.uint64, torch.float64)):
        found = numbers_from_tensor(torch.ones(2, 3).to(dtype))
        assert found.dtype == becomes
        assert found.tolist() == [[[1, 1, 1], [1, 1, 1]]]
        batch = images_from(torch.ones(1, 2, 3).to(dtype), ValueRange((0.0,), (2.0,)))
        assert batch.tolist() == [[[[0.5] * 3] * 2]]


def test_an_image_of_a_tensor_has_no_gradient() -> None:
    given = torch.rand(3, 8, 9, requires_grad=True)
    assert not numbers_from(given).requires_grad
    assert not images_from(given[None]).requires_grad
    assert numbers_from(given).data_ptr() == given.data_ptr()


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match="a PIL image, a tensor, an array or a file, got list"):
        numbers_from([1])
    assert numbers_from(picture("RGB")).shape == (3, HEIGHT, WIDTH)


# Values


def test_black_and_white_are_the_ends_of_eight_bits() -> None:
    found = checked_values(torch.tensor([[[True, False]]]))
    assert found.dtype == torch.uint8
    assert found.tolist() == [[[255, 0]]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_images_of_eight_and_sixteen_bits_stay_themselves(dtype: torch.dtype) -> None:
    image = torch.tensor([[[0, 7]]]).to(dtype)
    assert checked_values(image) is image


def test_other_numbers_are_refused_with_what_they_are() -> None:
    with pytest.raises(ValueError, match=r"got int16 of -7\.\.1000: convert to uint8 if"):
        checked_values(torch.tensor([[[0, 1000, -7]]], dtype=torch.int16))
    with pytest.raises(ValueError, match="must hold real numbers, got complex ones"):
        checked_values(torch.zeros(1, 1, 1, dtype=torch.complex64))
    for values in ([0.0, float("nan")], [float("nan")] * 2):
        with pytest.raises(NoImageError, match="images must be finite, got NaN"):
            checked_values(torch.tensor([[values]]))


def test_numbers_of_a_range_are_brought_to_images() -> None:
    found = checked_values(torch.tensor([[[0, 50, 200]]]), ValueRange((0.0,), (200.0,)))
    assert found.tolist() == [[[0.0, 0.25, 1.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_lie_between_black_and_white(dtype: torch.dtype) -> None:
    image = torch.tensor([[[0.0, 1.0]]], dtype=dtype)
    found = checked_values(image)
    assert found.dtype == torch.float32
    assert (found is image) == (dtype == torch.float32)
    for low, high in ((-RANGE_TOLERANCE, 0.5), (0.5, 1 + RANGE_TOLERANCE)):
        found = checked_values(torch.tensor([[[0.999 * low, 0.9999 * high]]], dtype=dtype))
        assert (found.min() >= 0, found.max() <= 1) == (True, True)  # type: ignore[comparison-overlap]
    assert RANGE_TOLERANCE == 1e-3
    for low, high in ((-1.1e-3, 0.5), (0.5, 1.002), (-1.1e-3, 1.002)):
        with pytest.raises(NoImageError, match=rf"must lie in \[0, 1\], got {low:.4g}\.\.{high}"):
            checked_values(torch.tensor([[[low, high]]], dtype=dtype))


@pytest.mark.parametrize(("low", "high"), [(-0.0009, 0.5), (0.5, 1.0009), (-0.0009, 1.0009)])
def test_what_lies_a_little_outside_is_cut(low: float, high: float) -> None:
    found = checked_values(torch.tensor([[[low, high]]]))
    assert found.flatten().tolist() == [max(low, 0), min(high, 1)]


# Many


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_stacked_images_are_as_they_were_in_their_layout(dtype: torch.dtype, channels: int) -> None:
    images = [(1000 * torch.rand(channels, 4, 6)).to(dtype) for _ in range(3)]
    stacked = stack_images(images)
    assert stacked.dtype == dtype
    assert stacked.is_contiguous()
    assert stacked.tolist() == [image.tolist() for image in images]
    last = [*images[:2], images[2].permute(1, 2, 0).contiguous().permute(2, 0, 1)]
    stacked = stack_images(last)
    assert stacked.tolist() == [image.tolist() for image in images]
    assert stacked.is_contiguous(memory_format=torch.channels_last)
    assert stacked.is_contiguous() == (channels == 1)


def test_images_of_several_types_are_stacked_as_numbers_from_black_to_white() -> None:
    kinds = (torch.uint8, 51), (torch.uint16, 13107), (torch.float64, 0.2)
    stacked = stack_images([torch.full((1, 1, 1), number).to(kind) for kind, number in kinds])
    assert stacked.dtype == torch.float32
    assert stacked.flatten().tolist() == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_picked_images_have_the_layout_of_all(
    dtype: torch.dtype, layout: torch.memory_format, channels: int
) -> None:
    images = (1000 * torch.rand(5, channels, 4, 6)).to(dtype).contiguous(memory_format=layout)
    picked = select_images(images, torch.tensor([3, 0, 3]))
    assert picked.tolist() == [images[place].tolist() for place in (3, 0, 3)]
    assert picked.is_contiguous(memory_format=layout)


def test_of_gray_images_without_channels_some_are_picked() -> None:
    images = torch.rand(5, 4, 6)
    assert torch.equal(select_images(images, torch.tensor([4, 1])), images[[4, 1]])
    upright = torch.rand(5, 6, 4).transpose(1, 2)
    assert torch.equal(select_images(upright, torch.tensor([4, 1])), upright[[4, 1]])
