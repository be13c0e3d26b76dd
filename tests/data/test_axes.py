"""Which axis holds the channels is known, told, or asked; never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from super_selfish.data.axes import channels_are_last, has_clear_channels
from super_selfish.data.samples import Sample
from super_selfish.data.sources import ImageSource


@pytest.mark.parametrize("is_array", [False, True])
@pytest.mark.parametrize(
    ("shape", "is_last"),
    [
        ((3, 32, 32), False),
        ((32, 32, 3), True),
        ((1, 8, 8), False),  # of clear sizes, though 8 might be channels
        ((13, 64, 64), False),
        ((16, 20, 24), False),  # one axis alone is short enough
        ((145, 145, 12), True),
        ((3, 1, 100), False),
    ],
)
def test_the_short_axis_holds_the_channels(
    shape: tuple[int, ...], is_last: bool, is_array: bool
) -> None:
    assert channels_are_last(shape, is_array=is_array) is is_last


@pytest.mark.parametrize(
    ("shape", "is_clear"),
    [
        ((3, 6, 6), True),
        ((3, 5, 6), False),
        ((6, 3, 6), False),
        ((6, 6, 3), True),
        ((16, 64, 64), True),
        ((17, 64, 64), False),
        ((6, 6), False),
    ],
)
def test_channels_are_clear_that_are_half_as_many_and_sixteen_at_most(
    shape: tuple[int, ...], is_clear: bool
) -> None:
    assert has_clear_channels(shape) == is_clear


def test_many_channels_are_where_the_kind_has_them() -> None:
    assert not channels_are_last((20, 64, 64), is_array=False)
    assert channels_are_last((64, 64, 20), is_array=True)


UNCLEAR = [
    ((145, 145, 200), False),
    ((145, 145, 200), True),
    ((200, 145, 145), False),
    ((20, 64, 64), True),
    ((64, 64, 20), False),
    ((12, 14, 16), False),
    ((16, 14, 12), True),
    ((32, 32, 32), False),
    ((32, 32, 32), True),
]


@pytest.mark.parametrize(("shape", "is_array"), UNCLEAR)
def test_what_may_be_read_in_two_ways_is_refused_and_told_of(
    shape: tuple[int, ...], is_array: bool
) -> None:
    with pytest.raises(ValueError, match="is not clear: say in_channels=") as told:
        channels_are_last(shape, is_array=is_array)
    assert str(told.value).startswith(f"the {'array' if is_array else 'tensor'} has shape [")
    for number in {shape[0], shape[-1]}:
        assert f"in_channels={number}" in str(told.value)


@pytest.mark.parametrize(("shape", "is_array"), UNCLEAR)
def test_the_number_that_the_user_says_decides(shape: tuple[int, ...], is_array: bool) -> None:
    if shape[0] == shape[2]:
        assert channels_are_last(shape, is_array=is_array, wanted=shape[0]) is is_array
    else:
        assert not channels_are_last(shape, is_array=is_array, wanted=shape[0])
        assert channels_are_last(shape, is_array=is_array, wanted=shape[2])


def test_a_number_that_no_axis_has_decides_nothing() -> None:
    assert not channels_are_last((1, 32, 32), is_array=True, wanted=3)
    with pytest.raises(ValueError, match="is not clear"):
        channels_are_last((48, 48, 48), is_array=True, wanted=3)


SPECTRA = np.arange(2 * 36 * 36 * 40, dtype=np.float32).reshape(2, 36, 36, 40) / 2e5


def cube_of(path: str) -> Any:
    return SPECTRA[int(Path(path).stem)]


@pytest.mark.parametrize("form", ["items", "one array", "loader"])
def test_a_source_asks_for_the_channels_of_spectra_and_takes_them(
    form: str, tmp_path: Path
) -> None:
    data: Any = {"items": list(SPECTRA), "one array": SPECTRA, "loader": tmp_path}[form]
    options: dict[str, Any] = {"loader": cube_of} if form == "loader" else {}
    for number in range(2):
        (tmp_path / f"{number}.cube").touch()
    with pytest.raises(ValueError, match=r"shape \[36, 36, 40\].*in_channels=36 if .*=40 if"):
        ImageSource(data, **options)
    source = ImageSource(data, in_channels=40, **options)
    expected = torch.from_numpy(SPECTRA).permute(0, 3, 1, 2)
    for number in range(2):
        found = source[number]
        assert isinstance(found, Sample)
        assert torch.equal(found.image, expected[number])
    batch = source.select(torch.tensor([1, 0]))
    assert (batch is not None) == (form == "one array")
    if batch is not None:
        assert torch.equal(batch.images, expected[[1, 0]])
