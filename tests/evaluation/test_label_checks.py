"""One class an image, or several: what is taken, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from super_selfish.evaluation.label_checks import (
    as_classes,
    check_labelled,
    check_parts,
    count_classes,
    is_multilabel,
)

SINGLE = torch.tensor([3, 1, 3])
SEVERAL = torch.tensor([[0, 1], [1, 1], [0, 0]])


def test_classes_are_values_of_one_label_and_columns_of_several() -> None:
    assert not is_multilabel(SINGLE) and is_multilabel(SEVERAL)
    assert count_classes(SINGLE) == 2
    assert count_classes(SEVERAL) == 2
    assert count_classes(torch.zeros(3, 5, dtype=torch.int64)) == 5


@pytest.mark.parametrize(
    ("labels", "allow_multilabel"), [(SINGLE, False), (SINGLE, True), (SEVERAL, True)]
)
def test_what_fits_is_taken(labels: Tensor, allow_multilabel: bool) -> None:
    check_labelled(torch.rand(3, 4), labels, "train", allow_multilabel=allow_multilabel)
    check_labelled(torch.rand(1, 4), labels[:1], "train", allow_multilabel=allow_multilabel)


@pytest.mark.parametrize(
    ("features", "labels", "several", "kind", "message"),
    [
        (torch.rand(3), SINGLE, False, ValueError, r"test features must be \[N, D\].*got \[3\]"),
        (torch.rand(3, 2, 2), SINGLE, False, ValueError, r"got \[3, 2, 2\]: flatten or pool"),
        (torch.rand(0, 2), SINGLE[:0], False, ValueError, r"with N >= 1, got \[0, 2\]"),
        (torch.rand(2, 2), SINGLE, False, ValueError, r"test labels must be \[2\], one a row"),
        (torch.rand(3, 2), SEVERAL, False, ValueError, r"must be \[3\], one .* got \[3, 2\]"),
        (torch.rand(3, 2), SEVERAL[:2], True, ValueError, r"must be \[3\] or \[3, Y\], one a row"),
        (torch.rand(3, 2), SEVERAL[..., None], True, ValueError, r"or \[3, Y\].*got \[3, 2, 1\]"),
        (torch.rand(3, 2), SINGLE.float(), False, TypeError, "must be integers .*got torch.float"),
        (
            torch.rand(3, 2),
            SINGLE.to(torch.complex64),
            False,
            TypeError,
            "must be integers .*got torch.compl",
        ),
        (torch.rand(3, 2), 2 * SEVERAL, True, ValueError, "must be 0 or 1, got others"),
        (torch.rand(3, 2), -SEVERAL, True, ValueError, "must be 0 or 1, got others"),
        (torch.rand(3, 2) / 0, SINGLE, False, ValueError, "must be finite, got NaN or infinity"),
        (torch.rand(3, 2) * math.nan, SINGLE, False, ValueError, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(
    features: Tensor, labels: Tensor, several: bool, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        check_labelled(features, labels, "test", allow_multilabel=several)


def test_both_parts_are_looked_at() -> None:
    features = torch.rand(3, 2)
    check_parts(features, SINGLE, features[:1], SINGLE[:1])
    wrong: list[tuple[tuple[Any, ...], str]] = [
        ((features, SINGLE[:1], features, SINGLE), "train labels"),
        ((features, SINGLE, features, SINGLE[:1]), "test labels"),
        ((features, SINGLE, torch.rand(3, 4), SINGLE), "the same width, got 2 and 4"),
    ]
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            check_parts(*given)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_classes_become_whole_numbers(dtype: torch.dtype) -> None:
    for labels in (SINGLE.clamp(max=1), SEVERAL):
        found = as_classes(labels.to(dtype))
        assert found.dtype == torch.int64 and torch.equal(found, labels)
    assert torch.equal(as_classes(SINGLE), SINGLE)


def test_zeros_and_ones_may_be_written_with_points_and_nothing_else() -> None:
    assert torch.equal(as_classes(SEVERAL.float()), SEVERAL)
    for labels in (
        SINGLE.float(),
        SINGLE.to(torch.complex64),
        SEVERAL + 1,
        SEVERAL / 2,
        SEVERAL[None],
    ):
        with pytest.raises(TypeError, match="a label must be a single integer"):
            as_classes(labels)
