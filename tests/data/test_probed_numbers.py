"""What is found of the numbers of some images, and what it comes to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from super_selfish.data.probed_numbers import (
    Found,
    Numbers,
    in_words,
    probed_values,
    resolved,
    some_numbers,
    spread_over,
    used_share,
    warn_of_range,
)
from super_selfish.data.samples import ReadingError
from super_selfish.data.value_range import ValueRange

FOUND = Found(2, ("uint16",), (10.0,), (200.0,), 0.0, 255.0)


class Reader:
    """Images by number, some of which cannot be read; says which were asked for."""

    def __init__(self, images: list[Any], wanted: Any = None) -> None:
        self.images, self.wanted_values = images, wanted
        self.read: list[int] = []
        self.checked: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def read_numbers(self, index: int, cover: Any) -> tuple[Tensor, None]:
        assert cover == (4, 4)
        self.read.append(index)
        if self.images[index] is None:
            raise ReadingError(ValueError("broken"))
        return self.images[index], None

    def check_values(self, index: int, image: Tensor) -> None:
        self.checked.append(index)


def probed(images: list[Any], wanted: Any = None, numbers: Any = ()) -> tuple[Any, Any]:
    reader: Any = Reader(images, wanted)
    return probed_values(reader, (4, 4), list(numbers)), reader


@pytest.mark.parametrize(
    ("total", "most", "places"),
    [
        *((0, 4, []), (1, 4, [0]), (4, 4, [0, 1, 2, 3]), (5, 4, [0, 1, 2, 4])),
        *((31, 4, [0, 10, 20, 30]), (100, 2, [0, 99])),
    ],
)
def test_places_are_spread_from_the_first_to_the_last(
    total: int, most: int, places: list[int]
) -> None:
    assert spread_over(total, most) == places


def test_sixteen_images_are_looked_at() -> None:
    images = [torch.full((1, 2, 2), float(number)) for number in range(46)]
    found, reader = probed(images)
    assert reader.read == reader.checked == [3 * place for place in range(16)]
    assert (found.images, found.least, found.greatest) == (16, 0.0, 45.0)
    images[3] = images[6] = None  # type: ignore[call-overload]
    found, reader = probed(images)
    assert found.images == 14
    assert reader.checked == [0, *(3 * place for place in range(3, 16))]


def test_nothing_is_found_where_nothing_can_be_read_or_has_a_range() -> None:
    for images in ([None, None], [torch.ones(1, 2, 2, dtype=torch.bool)], []):
        assert probed(images)[0] is None
    nothing = torch.full((2, 2, 2), float("nan"))
    assert probed([nothing])[0] is None
    half = torch.tensor([[[1.0, float("nan")]], [[float("nan"), 2.0]]])
    assert probed([half])[0] is None  # no pixel has both numbers


def test_numbers_that_were_read_before_are_not_read_again() -> None:
    given = some_numbers(torch.arange(4.0).view(1, 2, 2))
    found, reader = probed([None], numbers=given)
    assert reader.read == []
    assert (found.images, found.least, found.greatest) == (1, 0.0, 3.0)


def test_a_thousandth_at_either_end_says_nothing_of_the_range() -> None:
    numbers = torch.arange(10001.0).view(1, 1, -1)
    found, _ = probed([numbers])
    assert (*found.low, *found.high) == pytest.approx((10.0, 9990.0))
    assert (found.least, found.greatest) == (0.0, 10000.0)


def test_images_with_most_channels_tell_the_range_of_each() -> None:
    gray = torch.full((1, 1, 3), 90.0)
    colour = torch.tensor([[[1.0, 2.0, float("inf")]], [[3.0, 4.0, 5.0]]])
    found, _ = probed([gray, colour, colour.to(torch.float64)])
    assert found.images == 3
    assert found.kinds == ("float32", "float64")
    assert np.allclose(found.low, (1, 3), atol=0.01)
    assert np.allclose(found.high, (2, 4), atol=0.01)  # of the pixels that are finite
    assert (found.least, found.greatest) == (1.0, 90.0)


@pytest.mark.parametrize(
    ("low", "high", "beyond"),
    [
        *(((0,), (3,), 0.0), ((0,), (2,), 0.25), ((1,), (2,), 0.5), ((1,), (3,), 0.25)),
        *(((0, 0), (3, 5), 0.5), ((0, 0), (3, 7), 0.0), ((0, 4), (0, 7), 0.75)),
        ((0, 0, 0), (1, 1, 1), 0.0),  # refused elsewhere
    ],
)
def test_the_share_beyond_a_range_is_that_of_the_channel_with_most(
    low: Any, high: Any, beyond: float
) -> None:
    channels = max(1, min(2, len(low)))
    image = torch.arange(8.0).view(2, 1, 4)[:channels]
    assert probed([image], ValueRange(low, high))[0].beyond == beyond
    assert probed([image], "bits")[0].beyond == 0.0
    assert probed([image])[0].beyond == 0.0


# Numbers of one image


@pytest.mark.parametrize(
    ("number", "step"), [(1, 1), (2**14 - 1, 1), (2**15 - 1, 1), (2**15, 2), (3 * 2**14, 3)]
)
def test_of_many_numbers_some_are_taken_evenly(number: int, step: int) -> None:
    (some,) = some_numbers(torch.arange(float(number)).view(1, 1, -1))
    assert np.array_equal(some.values, np.arange(number, dtype=float)[None, ::step])
    assert (some.least, some.greatest) == (0.0, number - 1.0)  # of all


def test_numbers_of_all_channels_count_together() -> None:
    (some,) = some_numbers(torch.arange(2.0**15).view(4, 1, -1))
    assert some.values.shape == (4, 2**12)
    assert some.values[3].tolist() == list(range(3 * 2**13, 2**15, 2))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        *((torch.uint8, "uint8"), (torch.uint16, "uint16"), (torch.int16, "int16")),
        *((torch.int64, "int64"), (torch.bfloat16, "bfloat16"), (torch.float32, "float32")),
    ],
)
def test_numbers_keep_the_name_of_their_type(dtype: torch.dtype, kind: str) -> None:
    (some,) = some_numbers(torch.tensor([[[7, 3]]]).to(dtype))
    assert (some.kind, some.least, some.greatest) == (kind, 3.0, 7.0)
    assert some.values.dtype == np.float64


def test_numbers_without_a_range_are_none() -> None:
    for dtype in (torch.bool, torch.complex64):
        assert some_numbers(torch.ones(1, 2, 2, dtype=dtype)) == []
    assert some_numbers(torch.full((1, 2, 2), float("inf"))) == []
    (some,) = some_numbers(torch.tensor([[[1.0, float("-inf"), 5.0]]]))
    assert (some.least, some.greatest) == (1.0, 5.0)
    assert isinstance(some, Numbers)


# What it comes to


@pytest.mark.parametrize(
    ("greatest", "white"),
    [
        *((0, 255), (255, 255), (255.5, 1023), (256, 1023), (1023, 1023), (1024, 4095)),
        *((4095, 4095), (4096, 16383), (16383, 16383), (16384, 65535), (65535, 65535)),
    ],
)
def test_bits_are_the_fewest(greatest: float, white: int) -> None:
    found = FOUND._replace(greatest=float(greatest))
    assert resolved("bits", found) == ValueRange((0.0,), (float(white),), is_strict=True)


@pytest.mark.parametrize(
    "others",
    [{"greatest": 65536.0}, {"least": -1.0}, {"kinds": ("float32",)}, {"kinds": ("float64",)}],
)
def test_bits_are_of_whole_numbers_that_they_can_hold(others: Any) -> None:
    found = FOUND._replace(**others)
    said = rf"are {found.kinds[0]} of {found.least:g} to {found.greatest:g}: take 'percentile', or"
    with pytest.raises(ValueError, match=said):
        resolved("bits", found)


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        ((5.0,), (9.0,), ((5.0,), (9.0,))),
        ((5.0, 1.0, 7.0), (9.0, 8.0, 7.5), ((1.0,), (9.0,))),
        ((5.0, 1.0), (9.0, 8.0), ((5.0, 1.0), (9.0, 8.0))),
        ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0), ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))),
    ],
)
def test_percentiles_are_of_all_colours_or_of_each_band(low: Any, high: Any, values: Any) -> None:
    assert resolved("percentile", FOUND._replace(low=low, high=high)) == ValueRange(*values)


@pytest.mark.parametrize(("low", "high"), [((3.0,), (3.0,)), ((1.0, 4.0), (2.0, 4.0))])
def test_one_number_alone_has_no_percentiles(low: Any, high: Any) -> None:
    with pytest.raises(ValueError, match="found a channel of one number only"):
        resolved("percentile", FOUND._replace(low=low, high=high))


def test_a_range_that_was_given_is_taken() -> None:
    given = ValueRange((0.0,), (9.0,))
    several = FOUND._replace(kinds=("int16", "uint8"))
    assert resolved(None, FOUND) is None
    assert resolved(None, several) is None
    assert resolved(given, FOUND) is given
    assert resolved(given, None) is given
    for wanted, said in ((given, r"\(0\.0, 9\.0\)"), ("bits", "'bits'"), ("percentile", "'perc")):
        with pytest.raises(
            ValueError, match=rf"value_range={said}.* of one type.* int16 and uint8"
        ):
            resolved(wanted, several)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="value_range='bits' looks at the numbers of some images"):
        resolved("bits", None)


# How much of it is used


@pytest.mark.parametrize(
    ("kind", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1), ("float64", 1)]
)
def test_what_a_type_says_is_black_and_white(kind: str, white: float) -> None:
    found = FOUND._replace(kinds=(kind,), low=(white / 4,), high=(white / 2,))
    assert used_share(found, None) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("low", "high", "share"),
    [(-5, 5, 0.5), (5, 20, 0.5), (-5, 20, 1.0), (12, 20, 0.0), (-9, -1, 0.0), (2, 4, 0.2)],
)
def test_only_what_lies_between_black_and_white_is_used(
    low: float, high: float, share: float
) -> None:
    found = FOUND._replace(low=(float(low),), high=(float(high),))
    assert used_share(found, ValueRange((0.0,), (10.0,))) == pytest.approx(share)


def test_of_several_types_or_one_number_nobody_can_say_what_is_used() -> None:
    assert used_share(FOUND._replace(kinds=("int16", "uint8")), None) is None
    assert used_share(FOUND._replace(low=(200.0,)), None) is None
    two = FOUND._replace(low=(1.0, 2.0), high=(1.0, 3.0))
    assert used_share(two, ValueRange((0.0,), (10.0,))) == pytest.approx(0.1)


def test_what_was_found_is_said_in_a_line() -> None:
    one = FOUND._replace(images=1)
    assert in_words(one, None) == (
        "1 image looked at is uint16 of 0 to 255, taken as their type says"
    )
    several = FOUND._replace(images=1500, kinds=("int16", "uint8"))
    assert in_words(several, ValueRange((0.0,), (9.5,))) == (
        "1,500 images looked at are int16 and uint8 of 0 to 255, taken 0 to 9.5 as black to white"
    )


def test_both_warnings_name_their_shares() -> None:
    cut = FOUND._replace(low=(10.0, 10.0), high=(20.0, 60.0), beyond=0.25)
    values = ValueRange((0.0,), (1000.0,))
    with pytest.warns(UserWarning) as told:
        warn_of_range(cut, values)
    first, second = (str(each.message) for each in told)
    assert first.startswith("value_range cuts 25.0% of the numbers of a channel, which become")
    assert second.startswith("images use 5.0% of black to white")
    with pytest.warns(UserWarning, match="cuts 25.0% of the numbers, which become"):
        warn_of_range(FOUND._replace(beyond=0.25), ValueRange((0.0,), (255.0,)))
    warn_of_range(None, None)
    warn_of_range(FOUND, SimpleNamespace(low=(0.0,), high=(255.0,)))  # type: ignore[arg-type]
