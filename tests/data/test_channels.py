"""How many channels images of several kinds get."""

from __future__ import annotations

from typing import Any

import pytest

from super_selfish.data.channels import can_become, common_channels, misfit


def common(found: list[int], wanted: int | None = None, *, skips: bool = False) -> int:
    return common_channels(found, wanted, skips=skips, name=lambda place: f"image {place}")


def test_grey_and_colour_become_each_other_and_nothing_else() -> None:
    steps = {(a, b) for a in range(1, 6) for b in range(1, 6) if can_become(a, b)}
    assert steps == {(n, n) for n in range(1, 6)} | {(1, 3), (3, 1)}


@pytest.mark.parametrize(
    ("found", "wanted", "skips", "channels"),
    [
        *(([1, 1], None, False, 1), ([1, 3, 1], None, False, 3), ([3, 1], 1, False, 1)),
        *(([4, 4], None, False, 4), ([1, 1, 2], None, True, 3 - 2), ([2, 2, 3], None, True, 2)),
        *(([1, 3, 4, 4], None, True, 4), ([1, 3, 3, 4], None, True, 3), ([1, 3, 4], 4, True, 4)),
        ([1, 2], None, True, 2),
    ],
)
def test_images_get_the_most_channels_that_fit_them(
    found: list[int], wanted: int | None, skips: bool, channels: int
) -> None:
    assert common(found, wanted, skips=skips) == channels


@pytest.mark.parametrize(
    ("found", "wanted", "skips", "said"),
    [
        (
            [1, 4, 4],
            None,
            False,
            r"of 3 images looked at there are 2 of 4 channels \(such as image 1\), 1 of 1 channel "
            r"\(such as image 0\), which cannot all be turned into 4 channels .*on_error='skip'$",
        ),
        ([1, 3], 2, False, "into 2 channels .*: convert the others$"),
        ([1, 3], 2, True, "into 2 channels .*: convert the others$"),
        ([2], 1, False, r"of 1 image looked at .* into 1 channel \("),
    ],
)
def test_what_cannot_be_turned_is_told_by_its_kinds(
    found: list[int], wanted: Any, skips: bool, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        common(found, wanted, skips=skips)


def test_why_an_image_does_not_fit_is_said() -> None:
    said = "cannot turn 2 channels into 3 (only 1 into 3 and 3 into 1): convert it"
    assert misfit(2, 3, is_given=True) == said
    assert misfit(2, 3, is_given=False) == f"{said}, or give in_channels=2 if it is meant"
    assert misfit(1, 2, is_given=True).startswith("cannot turn 1 channel into 2")
