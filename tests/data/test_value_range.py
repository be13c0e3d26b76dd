from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from super_selfish.data.conversion import checked_values
from super_selfish.data.opening import as_source
from super_selfish.data.probed_numbers import Found, used_share, warn_of_range
from super_selfish.data.sources import ImageSource, Sample, images_at
from super_selfish.data.value_range import NoImageError, ValueRange, parse_value_range

COUNT = 6


def spread(low: float, high: float, channels: int = 1) -> Tensor:
    """Images `[N, C, 32, 32]` of evenly spread numbers, float64."""
    line = torch.linspace(low, high, COUNT * channels * 32 * 32, dtype=torch.float64)
    order = torch.randperm(len(line), generator=torch.Generator().manual_seed(0))
    return line[order].reshape(COUNT, channels, 32, 32)


KINDS: dict[str, tuple[Tensor, tuple[float, float], torch.dtype]] = {
    "12 bits in 16": (spread(0, 4095).round().to(torch.uint16), (0, 4095), torch.uint16),
    "Hounsfield": (spread(-1024, 3071).round().to(torch.int16), (-1000, 400), torch.uint16),
    "reflectance": (spread(-0.2, 1.6).float(), (0, 1.5), torch.float32),
    "floats to 255": (spread(0, 255).float(), (0, 255), torch.float32),
    "elevation": (spread(-400, 8800), (-400, 8800), torch.float32),
    "counts": (spread(0, 2**24).round().to(torch.int32), (0, 2**24), torch.float32),
    "longs": (spread(0, 2**40).round().to(torch.int64), (0, 2**40), torch.float32),
    "eight bits": (spread(0, 255).round().to(torch.uint8), (50, 200), torch.uint8),
    "signed bytes": (spread(-128, 127).round().to(torch.int8), (-128, 127), torch.uint16),
    "bytes in a wide range": (spread(0, 255).round().to(torch.uint8), (0, 1000), torch.uint16),
    "unsigned": (spread(0, 2**32 - 1).round().long().to(torch.uint32), (0, 2**32), torch.float32),
    "half": (spread(0, 8).half(), (0, 8), torch.float32),
}


@pytest.mark.filterwarnings("ignore:value_range cuts")  # as some of these windows are to
@pytest.mark.parametrize("form", ["tensor", "items", "arrays", "files"])
@pytest.mark.parametrize("kind", KINDS)
def test_low_becomes_black_and_high_white(kind: str, form: str, tmp_path: Path) -> None:
    raw, (low, high), dtype = KINDS[kind]
    data: Any = raw
    if form == "items":
        data = list(raw)
    elif form == "arrays":
        data = raw.numpy()
    elif form == "files":
        for number, image in enumerate(raw):
            np.save(tmp_path / f"{number}.npy", image.numpy())
        data = tmp_path

    source = ImageSource(data, value_range=(low, high))
    images = images_at(source, range(COUNT))

    assert source.value_range == (low, high)
    assert images.dtype == dtype
    unit = images.double() / {torch.uint8: 255, torch.uint16: 65535}.get(dtype, 1)
    expected = ((raw.double() - low) / (high - low)).clamp(0, 1)
    step = {torch.uint8: 0.5 / 255, torch.uint16: 0.5 / 65535}.get(dtype, 0)
    torch.testing.assert_close(unit, expected, rtol=1e-6, atol=step + 1e-6)


def test_no_level_within_the_range_is_lost() -> None:
    every = torch.arange(-32768, 32768).to(torch.int16).reshape(1, 256, 256)
    scaled = ValueRange((-32768.0,), (32767.0,)).apply(every)
    assert scaled.dtype == torch.uint16
    assert len(np.unique(scaled.numpy())) == 65536


def test_each_channel_may_have_a_range_of_its_own() -> None:
    images = torch.cat([spread(0, 1000), spread(0, 60000)], dim=1).round().to(torch.uint16)
    source = ImageSource(images, value_range=((0, 0), (1000, 60000)))
    assert source.value_range == ((0.0, 0.0), (1000.0, 60000.0))
    scaled = images_at(source, range(COUNT))
    assert scaled.int().amax(dim=(0, 2, 3)).tolist() == [65535, 65535]
    with pytest.raises(ValueError, match="bounds for 2 channels, but the image has 1"):
        ImageSource(images[:, :1], value_range=((0, 0), (1000, 60000)))


# Ranges that are found


@pytest.mark.parametrize(
    ("greatest", "white"),
    [(200, 255), (256, 1023), (1023, 1023), (3800, 4095), (9000, 16383), (40000, 65535)],
)
def test_bits_are_the_fewest_that_hold_the_numbers(greatest: int, white: int) -> None:
    images = spread(0, greatest).round().to(torch.uint16)
    source = ImageSource(images, value_range="bits")
    assert source.value_range == (0.0, white)
    scaled = images_at(source, [0, 1])
    expected = images[:2].double() * 65535 / white
    assert (scaled.double() - expected).abs().max() < 0.51


def test_bits_refuse_what_they_cannot_hold() -> None:
    for images in (spread(-5, 100).round().to(torch.int16), spread(0, 100).float()):
        with pytest.raises(ValueError, match="'bits' takes whole numbers from 0 to 65535, but"):
            ImageSource(images, value_range="bits")
    brighter = spread(0, 4000).round().to(torch.uint16).repeat(50, 1, 1, 1)
    brighter[7, 0, 0, 0] = 5000  # of 300 images 16 are looked at
    source = ImageSource(list(brighter), value_range="bits", image_size=32)
    assert source.value_range == (0.0, 4095.0)
    with pytest.raises(ValueError, match=r"item 7: .* this one has .* to 5000: give value_range="):
        source[7]


def test_percentiles_leave_hot_pixels_out() -> None:
    images = spread(300, 4000).round().to(torch.uint16)
    images[:, 0, 0, 0] = 65535
    images[:, 0, 0, 1] = 0
    low, high = ImageSource(images, value_range="percentile").value_range or (0, 0)
    assert abs(low - 303.7) < 5 and abs(high - 3996.3) < 5


def test_percentiles_of_colours_are_common_and_of_bands_their_own() -> None:
    bright = torch.cat([spread(0, top) for top in (1000, 2000, 4000, 8000)], dim=1)
    colours = ImageSource(bright[:, :3].float(), value_range="percentile").value_range
    bands = ImageSource(bright.float(), value_range="percentile").value_range
    assert colours is not None and isinstance(colours[1], float)
    assert bands is not None
    assert np.allclose(bands[1], [1000, 2000, 4000, 8000], rtol=0.01)


def test_one_line_says_what_was_found_and_what_is_used() -> None:
    images = spread(0, 3000).round().to(torch.uint16)
    source = ImageSource(images, value_range="bits")
    assert source.values_in_words == (
        "6 images looked at are uint16 of 0 to 3000, taken 0 to 4095 as black to white"
    )
    plain = ImageSource(spread(0, 60000).round().to(torch.uint16))
    assert plain.values_in_words.endswith("uint16 of 0 to 60000, taken as their type says")


# Warnings and refusals


@pytest.mark.parametrize("bits", [8, 16])
def test_images_that_use_little_of_their_range_are_warned_of(tmp_path: Path, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    for number in range(4):
        pixels = np.arange(64 * 64 * 2).reshape(64, 128) % (2**bits // 12)
        Image.fromarray(pixels.astype(dtype)).save(tmp_path / f"{number}.png")
    with pytest.warns(
        UserWarning, match=r"images use [78]\.\d% of black to white.*'percentile' or"
    ):
        ImageSource(tmp_path)
    assert isinstance(ImageSource(tmp_path, value_range="percentile")[0], Sample)


def test_hot_pixels_do_not_hide_that_images_are_black() -> None:
    images = spread(0, 4095).round().to(torch.uint16)
    images[:, 0, 5, 5] = 65535
    with pytest.warns(UserWarning, match=r"images use 6\.2% of black to white"):
        ImageSource(images)


def test_a_range_that_misses_the_images_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"images use 5\.0% of black to white"):
        ImageSource(spread(0, 1), value_range=(0, 20))


@pytest.mark.parametrize("form", ["tensor", "list", "folder"])
def test_a_range_that_cuts_much_of_the_images_is_warned_of(form: str, tmp_path: Path) -> None:
    deep = spread(0, 4095).round().to(torch.uint16)
    for number, image in enumerate(deep):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    data: Any = {"tensor": deep, "list": list(deep), "folder": tmp_path}[form]
    with pytest.warns(
        UserWarning,
        match=r"value_range cuts 93\.8% of the numbers, .* uint16 of 0 to 4095, taken 0 to",
    ):
        ImageSource(data, value_range=(0, 255))
    with pytest.warns(UserWarning, match=r"value_range cuts 6\.0% of the numbers"):  # below it
        ImageSource(data, value_range=(4095 * 0.06, 4095))
    for quiet in ((0, 4095), (0, 4095 * 0.96), "bits", "percentile"):
        ImageSource(data, value_range=quiet)


def test_one_channel_that_is_cut_is_warned_of() -> None:
    bands = spread(0, 1, 13)
    bands[:, 4] *= 2
    with pytest.warns(UserWarning, match=r"value_range cuts 50\.\d% of the numbers of a channel, "):
        ImageSource(bands, value_range=(0, 1))
    ImageSource(bands, value_range=([0] * 13, [1, 1, 1, 1, 2, *[1] * 8]))


def test_numbers_of_unknown_meaning_are_refused_with_what_would_do(tmp_path: Path) -> None:
    np.save(tmp_path / "1.npy", spread(-1000, 400).round().to(torch.int16)[0].numpy())
    with pytest.raises(ValueError, match=r"got int16 of -\d+\.\.\d+: .*value_range=\(low, high\)"):
        ImageSource(tmp_path)
    with pytest.raises(ValueError, match=r"got 0\.\d+\.\.2.*value_range='percentile'"):
        ImageSource([spread(0.1, 2.2)[0]])
    broken = spread(0, 9)
    broken[0, 0, 0, 0] = float("nan")
    for value_range in (None, (0, 9)):
        with pytest.raises(ValueError, match="must be finite, got NaN"):
            ImageSource(list(broken), value_range=value_range)


def test_images_of_several_types_have_no_common_range() -> None:
    mixed = [spread(0, 255).to(torch.uint8)[0], spread(0, 4095).to(torch.uint16)[0]]
    for value_range in ("percentile", (0, 4095)):
        with pytest.raises(ValueError, match=r"of one type, but .* are uint16 and uint8"):
            ImageSource(mixed, value_range=value_range)


@pytest.mark.parametrize("wrong", [(1,), (1, 1), (2, 1), "bit", 5, (0, float("inf")), ("a", "b")])
def test_ranges_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="value_range must"):
        parse_value_range(wrong)


def test_a_source_keeps_its_range() -> None:
    source = ImageSource(spread(0, 1), value_range=(0, 1))
    assert as_source(source, value_range=(0, 1)) is source
    assert as_source(source) is source
    with pytest.raises(ValueError, match=r"made with value_range=\(0\.0, 1\.0\), but .* \(0\.0, 2"):
        as_source(source, value_range=(0, 2))


@pytest.mark.parametrize(
    ("high", "beyond", "is_told"),
    [(0.1, 0.05, False), (0.0999, 0.05, True), (0.1, 0.0501, True)],
)
def test_a_tenth_is_not_little_and_a_twentieth_not_much(
    high: float, beyond: float, is_told: bool
) -> None:
    found = Found(2, ("float32",), (0.0,), (high,), 0.0, high, beyond)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_range(found, ValueRange((0.0,), (1.0,)))
    assert bool(told) == is_told


def test_the_channel_that_uses_most_tells_how_much_is_used() -> None:
    found = Found(2, ("uint16",), (0.0, 10.0), (5.0, 40.0), 0.0, 40.0)
    assert used_share(found, ValueRange((0.0,), (100.0,))) == 0.3
    assert used_share(found, ValueRange((0.0, 30.0), (100.0, 40.0))) == 1.0
    assert used_share(found, ValueRange((20.0, 50.0), (30.0, 60.0))) == 0.0
    assert used_share(found, ValueRange((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))) is None
    assert used_share(found, None) == 30 / 65535
    assert used_share(found._replace(low=(5.0,), high=(5.0,)), None) is None
    assert used_share(found._replace(kinds=("float32",)), None) == 1.0


def test_floats_are_clipped_that_leave_their_range_by_a_thousandth_at_most() -> None:
    image = torch.tensor([-0.00099, 0.5, 1.00099]).view(1, 1, 3)
    assert torch.equal(checked_values(image), image.clamp(0, 1))
    for part in (image[..., :2], image[..., 1:]):  # beyond one end alone
        assert torch.equal(checked_values(part), part.clamp(0, 1))
    for wrong in (-0.0011, 1.0011):
        with pytest.raises(NoImageError, match=r"must lie in \[0, 1\]"):
            checked_values(image.where(image == 0.5, torch.tensor(wrong)))


@pytest.mark.parametrize(("channels", "is_listed"), [(1, True), (4, True), (5, False)])
def test_ranges_of_up_to_four_channels_are_listed(channels: int, is_listed: bool) -> None:
    values = ValueRange(tuple(map(float, range(channels))), (9.0,) * channels)
    assert ("at most, in each of" not in str(values)) == is_listed


@pytest.mark.parametrize(
    ("given", "width", "becomes"),
    [
        *((torch.uint8, 255, torch.uint8), (torch.uint8, 256, torch.uint16)),
        *((torch.uint8, 65535, torch.uint16), (torch.uint8, 65536, torch.float32)),
        *((torch.int8, 200, torch.uint16), (torch.int16, 65535, torch.uint16)),
        *((torch.int16, 65536, torch.float32), (torch.uint16, 200, torch.uint16)),
        *((torch.int32, 200, torch.float32), (torch.float32, 200, torch.float32)),
    ],
)
def test_so_many_steps_as_lose_no_level_of_the_widest_channel(
    given: torch.dtype, width: int, becomes: torch.dtype
) -> None:
    low, high = 10.0, 10.0 + width
    images = torch.tensor([5, 10, 60]).to(given).view(1, 1, 3).expand(2, 1, 3)
    found = ValueRange((low, 50.0), (high, 70.0)).apply(images)
    assert found.dtype == becomes
    white = {torch.uint8: 255, torch.uint16: 65535}.get(becomes, 1)
    first = 0 if becomes == torch.float32 else 0.5
    expected = torch.tensor([[[0.0, 0.0, 50 / width]], [[0.0, 0.0, 0.5]]]) * white
    assert (found.double() - expected).abs().max() <= first + 1e-6


def test_numbers_of_their_types_own_range_stay_themselves() -> None:
    for dtype, white in ((torch.uint8, 255.0), (torch.uint16, 65535.0)):
        images = torch.ones(1, 2, 2).to(dtype)
        assert ValueRange((0.0,), (white,)).apply(images) is images
        for low, high in ((1.0, white), (0.0, white - 1)):
            assert ValueRange((low,), (high,)).apply(images) is not images
    floats = torch.ones(1, 2, 2)
    assert ValueRange((0.0,), (255.0,)).apply(floats)[0, 0, 0] == pytest.approx(1 / 255)
    assert floats[0, 0, 0] == 1  # which are left as they were


def test_large_numbers_are_told_apart() -> None:
    images = torch.tensor([2**40, 2**40 + 1], dtype=torch.int64).view(1, 1, 2)
    for dtype in (torch.int64, torch.float64):
        found = ValueRange((2.0**40,), (2.0**40 + 4,)).apply(images.to(dtype))
        assert found.flatten().tolist() == [0.0, 0.25]
    ints = torch.tensor([2**30, 2**30 + 1], dtype=torch.int32).view(1, 1, 2)
    assert ValueRange((2.0**30,), (2.0**30 + 4,)).apply(ints).flatten().tolist() == [0.0, 0.25]


def test_a_strict_range_takes_its_ends_and_no_more() -> None:
    strict = ValueRange((1.0, 2.0), (8.0, 9.0), is_strict=True)
    strict.apply(torch.tensor([1.0, 9.0]).view(1, 1, 2).expand(2, 1, 2))
    for low, high in ((0.5, 9.0), (1.0, 9.5)):
        image = torch.tensor([low, high]).view(1, 1, 2).expand(2, 1, 2)
        with pytest.raises(ValueError, match=rf"to {high:g}: give value_range=\({low:g}, {high:g}"):
            strict.apply(image)
    strict._replace(is_strict=False).apply(torch.tensor([0.0, 99.0]).view(1, 1, 2).repeat(2, 1, 1))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(NoImageError, match="must be finite, got NaN or infinity"):
        ValueRange((0.0,), (1.0,)).apply(torch.tensor([[[0.5, wrong]]]))


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ((0, 5), (0.0,), (5.0,)),
        ([0, [5, 6]], (0.0, 0.0), (5.0, 6.0)),
        (((1, 2), 5), (1.0, 2.0), (5.0, 5.0)),
        ((np.array([1, 2]), torch.tensor([3, 4])), (1.0, 2.0), (3.0, 4.0)),
        ((np.float32(1), torch.tensor(3)), (1.0,), (3.0,)),
        (([1], [3]), (1.0,), (3.0,)),
    ],
)
def test_bounds_are_numbers_or_one_a_channel(given: Any, low: Any, high: Any) -> None:
    assert parse_value_range(given) == ValueRange(low, high)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (((0, 0), (1, 2, 3)), "must have as many low as high bounds"),
        (((), ()), "must have as many low as high bounds"),
        ((1, 1), "must be finite numbers with low < high"),
        (((0, 2), (1, 2)), "must be finite numbers with low < high"),
        ((float("-inf"), 1), "must be finite numbers"),
        ((0, float("nan")), "must be finite numbers"),
        ("bit", r"must be \(low, high\), the numbers that are black and white, .*got 'bit'"),
        ((1, 2, 3), r"must be \(low, high\)"),
        ((1, None), r"must be \(low, high\)"),
    ],
)
def test_why_a_range_makes_no_sense_is_said(wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"value_range {said}"):
        parse_value_range(wrong)


def test_a_range_is_written_as_a_user_does() -> None:
    assert ValueRange((0.0,), (5.0,)).plain == (0.0, 5.0)
    assert ValueRange((0.0, 1.0), (5.0, 6.0)).plain == ((0.0, 1.0), (5.0, 6.0))
    assert str(ValueRange((-1000.0,), (400.5,))) == "-1000 to 400.5"
    assert str(ValueRange((0.0, 1.0), (5.0, 6.0))) == "0 to 5; 1 to 6 (channel by channel)"
    five = ValueRange((3.0, 1.0, 2.0, 3.0, 4.0), (5.0, 9.0, 7.0, 6.0, 5.0))
    assert str(five) == "1 to 9 at most, in each of 5 channels a range of its own,"
    given = ValueRange((0.0,), (5.0,))
    assert parse_value_range(given) is given
    assert [parse_value_range(word) for word in (None, "bits", "percentile")] == [
        *(None, "bits", "percentile")
    ]
